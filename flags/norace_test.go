//go:build !race

package flags_test

const raceDetector = false
