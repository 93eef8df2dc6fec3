//go:build race

package flags_test

const raceDetector = true
