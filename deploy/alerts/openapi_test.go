package alerts

import (
	"testing"

	"github.com/rampart-flags/rampart/internal/worldtest"
)

func openAPI(t *testing.T, w *worldtest.World) { _ = w; t.Skip("see below") }
