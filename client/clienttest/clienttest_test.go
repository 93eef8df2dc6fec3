package clienttest_test

import (
	"errors"
	"testing"

	"github.com/rampart-flags/rampart/client/clienttest"
	"github.com/rampart-flags/rampart/flags"
)

func TestFlagsOfATest(t *testing.T) {
	t.Setenv("RAMPART_FORCE_RECEIPTS", "off")
	f := clienttest.New(t)
	on := func(tenant, user string) bool { return f.Client.Enabled("receipts", tenant, user) }
	if on("acme", "u") {
		t.Error("on before anything is set")
	}
	f.On("receipts")
	if !on("acme", "u") || !on("", "") {
		t.Error("off after On")
	}
	f.Set("receipts", "acme", flags.Entry{Version: "v2", Enabled: true, Cohorts: []string{"vip"}})
	if on("acme", "u") || !on("acme", "vip") || !on("globex", "u") {
		t.Error("the tenant's entry does not decide for the tenant alone")
	}
	before := f.Client.Snapshot()
	f.Off("receipts")
	f.Remove("receipts", "acme")
	if on("acme", "vip") || on("globex", "u") {
		t.Error("on after Off")
	}
	if !before.Enabled("receipts", "acme", "vip") || before.Generation >= f.Client.Snapshot().Generation {
		t.Error("a snapshot changed")
	}
	f.Fail(errors.New("away"))
	if _, stale := f.Client.Stale(); !stale {
		t.Error("not stale after Fail")
	}
	f.On("receipts")
	if _, stale := f.Client.Stale(); stale || !on("acme", "u") {
		t.Error("stale after the next change")
	}
}

func TestFlagsOfASpec(t *testing.T) {
	f := clienttest.NewSpec(t, `{"version":"flags-v1","features":{"receipts":{"pct":0,"tenants":{"acme":{"pct":100}}}}}`)
	if !f.Client.Enabled("receipts", "acme", "u") || f.Client.Enabled("receipts", "globex", "u") {
		t.Error("the spec does not decide")
	}
	f.Off("receipts")
	if !f.Client.Enabled("receipts", "acme", "u") {
		t.Error("Off of the feature touched a tenant")
	}
}
