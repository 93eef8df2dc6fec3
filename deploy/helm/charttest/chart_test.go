// Package charttest lints and renders the chart, with Helm's own code. It is a module of its own, so that nobody else
// downloads Helm.
package charttest

import (
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

const chart = "../rampart"

// render returns the rendered objects by kind and name.
func render(t *testing.T, values map[string]any) (map[string]map[string]any, error) {
	t.Helper()
	c, err := loader.Load(chart)
	if err != nil {
		t.Fatal(err)
	}
	release := chartutil.ReleaseOptions{Name: "flags", Namespace: "team", IsInstall: true}
	all, err := chartutil.ToRenderValues(c, values, release, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, err
	}
	objects := map[string]map[string]any{}
	for name, text := range files {
		for doc := range strings.SplitSeq(text, "\n---\n") {
			var o map[string]any
			if err := yaml.UnmarshalStrict([]byte(doc), &o); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, doc)
			}
			if len(o) == 0 {
				continue
			}
			meta := o["metadata"].(map[string]any)
			objects[o["kind"].(string)+"/"+meta["name"].(string)] = o
		}
	}
	return objects, nil
}

func values(more map[string]any) map[string]any {
	v := map[string]any{
		"source": map[string]any{"repo": "https://git.example/flags", "tokenSecret": "git"},
		"trust":  map[string]any{"policy": `{"version":1}`},
	}
	for k, x := range more {
		v[k] = x
	}
	return v
}

func at(t *testing.T, o any, path ...any) any {
	t.Helper()
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, ok := o.(map[string]any)
			if !ok {
				t.Fatalf("no %v on the way to %v", p, path)
			}
			o = m[p]
		case int:
			l, ok := o.([]any)
			if !ok || len(l) <= p {
				t.Fatalf("no %v on the way to %v", p, path)
			}
			o = l[p]
		}
	}
	return o
}

func TestDefaultsRenderWhatTheyPromise(t *testing.T) {
	got, err := render(t, values(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"StatefulSet/flags-reconcile", "Service/flags-reconcile", "ConfigMap/flags-trust", "ServiceAccount/flags", "Deployment/flags-evaluate",
		"Service/flags-evaluate", "PodDisruptionBudget/flags-reconcile", "PodDisruptionBudget/flags-evaluate", "NetworkPolicy/flags-reconcile", "NetworkPolicy/flags-evaluate"} {
		if got[want] == nil {
			t.Errorf("no %s", want)
		}
	}
	if got["ServiceMonitor/flags-reconcile"] != nil {
		t.Error("a ServiceMonitor that nobody asked for")
	}
	for _, name := range []string{"StatefulSet/flags-reconcile", "Deployment/flags-evaluate"} {
		pod := at(t, got[name], "spec", "template", "spec")
		c := at(t, pod, "containers", 0)
		for _, check := range []struct {
			path []any
			want any
		}{
			{[]any{"securityContext", "readOnlyRootFilesystem"}, true},
			{[]any{"securityContext", "allowPrivilegeEscalation"}, false},
			{[]any{"securityContext", "capabilities", "drop", 0}, "ALL"},
			{[]any{"livenessProbe", "httpGet", "path"}, "/healthz"},
			{[]any{"readinessProbe", "httpGet", "path"}, "/readyz"},
		} {
			if v := at(t, c, check.path...); v != check.want {
				t.Errorf("%s: %v is %v, want %v", name, check.path, v, check.want)
			}
		}
		if at(t, pod, "automountServiceAccountToken") != false || at(t, pod, "securityContext", "runAsNonRoot") != true {
			t.Errorf("%s: more rights than it needs", name)
		}
		selector, labels := at(t, got[name], "spec", "selector", "matchLabels").(map[string]any), at(t, got[name], "spec", "template", "metadata", "labels").(map[string]any)
		for k, v := range selector {
			if labels[k] != v {
				t.Errorf("%s: selects %s=%v and labels %v", name, k, v, labels[k])
			}
		}
	}
}

// Every object holds only fields that Kubernetes knows, of the right types, also with everything switched on.
func TestObjectsAreWhatKubernetesKnows(t *testing.T) {
	for name, v := range map[string]map[string]any{
		"defaults": values(nil),
		"everything": values(map[string]any{
			"source":         map[string]any{"repo": "ssh://git@git.example/flags", "sshSecret": "ssh"},
			"redis":          map[string]any{"urlSecret": "redis"},
			"reconcile":      map[string]any{"replicas": 3, "notaries": []any{map[string]any{"name": "outside", "url": "https://notary.example"}}, "webhookSecret": "hook", "adminTokenSecret": "admin"},
			"networkPolicy":  map[string]any{"enabled": true, "evaluateFrom": []any{map[string]any{"namespaceSelector": map[string]any{}}}},
			"nodeSelector":   map[string]any{"disk": "fast"},
			"tolerations":    []any{map[string]any{"key": "flags", "operator": "Exists"}},
			"affinity":       map[string]any{"nodeAffinity": map[string]any{}},
			"podAnnotations": map[string]any{"team": "flags"},
		}),
	} {
		got, err := render(t, v)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for id, o := range got {
			src, err := yaml.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			kind, _, _ := strings.Cut(id, "/")
			into := map[string]any{
				"StatefulSet": &appsv1.StatefulSet{}, "Deployment": &appsv1.Deployment{}, "Service": &corev1.Service{}, "ConfigMap": &corev1.ConfigMap{},
				"ServiceAccount": &corev1.ServiceAccount{}, "PodDisruptionBudget": &policyv1.PodDisruptionBudget{}, "NetworkPolicy": &networkingv1.NetworkPolicy{},
			}[kind]
			if into == nil {
				t.Errorf("%s: %s is of a kind that this test does not know", name, id)
			} else if err := yaml.UnmarshalStrict(src, into); err != nil {
				t.Errorf("%s: %s: %v\n%s", name, id, err, src)
			}
		}
	}
}

// Replicas keep away from each other unless told otherwise; each reconciler has a volume of its own.
func TestReplicasStandApart(t *testing.T) {
	got, err := render(t, values(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"StatefulSet/flags-reconcile", "Deployment/flags-evaluate"} {
		term := at(t, got[name], "spec", "template", "spec", "affinity", "podAntiAffinity", "preferredDuringSchedulingIgnoredDuringExecution", 0, "podAffinityTerm")
		for k, v := range at(t, term, "labelSelector", "matchLabels").(map[string]any) {
			if at(t, got[name], "spec", "template", "metadata", "labels", k) != v {
				t.Errorf("%s keeps away from %s=%v, which it is not", name, k, v)
			}
		}
	}
	if at(t, got["StatefulSet/flags-reconcile"], "spec", "volumeClaimTemplates", 0, "metadata", "name") != "state" {
		t.Error("reconcilers share a volume")
	}
}

func TestWhatIsWrongIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		values map[string]any
		want   string
	}{
		"no repository":  {map[string]any{"trust": map[string]any{"policy": "{}"}}, "source.repo"},
		"no policy":      {map[string]any{"source": map[string]any{"repo": "https://git.example/f"}}, "trust.policy"},
		"unknown value":  {values(map[string]any{"replicas": 3}), "replicas"},
		"wrong type":     {values(map[string]any{"reconcile": map[string]any{"replicas": "two"}}), "replicas"},
		"wrong address":  {values(map[string]any{"source": map[string]any{"repo": "git.example/f"}}), "repo"},
		"no namespace":   {values(map[string]any{"redis": map[string]any{"namespace": "flags"}}), "namespace"},
		"no lease":       {values(map[string]any{"reconcile": map[string]any{"lease": "soon"}}), "lease"},
		"notary no name": {values(map[string]any{"reconcile": map[string]any{"notaries": []any{map[string]any{"url": "https://n"}}}}), "name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := render(t, c.values)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want an error about %s", err, c.want)
			}
		})
	}
}

func TestSettingsReachTheProgram(t *testing.T) {
	got, err := render(t, values(map[string]any{
		"redis":          map[string]any{"urlSecret": "redis"},
		"source":         map[string]any{"repo": "ssh://git@git.example/flags", "sshSecret": "ssh"},
		"reconcile":      map[string]any{"replicas": 1, "lease": "30s", "notaries": []any{map[string]any{"name": "outside", "url": "https://notary.example"}}, "webhookSecret": "hook"},
		"serviceMonitor": map[string]any{"enabled": true},
	}))
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(got["StatefulSet/flags-reconcile"])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--repo=ssh://git@git.example/flags", "--notary=outside=https://notary.example", "--ssh-key=/etc/rampart/ssh/key", "--lease=30s", "RAMPART_WEBHOOK_SECRET", "key: url"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if got["PodDisruptionBudget/flags-reconcile"] != nil {
		t.Error("a budget for one replica would block every drain")
	}
	if got["ServiceMonitor/flags-evaluate"] == nil {
		t.Error("no ServiceMonitor")
	}
}
