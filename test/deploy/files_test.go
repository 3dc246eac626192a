package deploy_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"

	"github.com/pipelined/pipelined/test/harness"
)

// example gives the text of a file of examples/deploy.
func example(tb testing.TB, name string) []byte {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(root, "examples/deploy", name))
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// objects are what examples/deploy/kubernetes.yaml describes.
type objects struct {
	services []*corev1.Service
	set      *appsv1.StatefulSet
	budget   *policyv1.PodDisruptionBudget
}

// kubernetes decodes the objects: a field that Kubernetes does not have is an error.
func kubernetes(t *testing.T) objects {
	t.Helper()
	var found objects
	for doc := range bytes.SplitSeq(example(t, "kubernetes.yaml"), []byte("\n---\n")) {
		var head struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal(doc, &head); err != nil {
			t.Fatal(err)
		}

		var into any
		switch head.APIVersion + " " + head.Kind {
		case "v1 Service":
			s := &corev1.Service{}
			found.services, into = append(found.services, s), s
		case "apps/v1 StatefulSet":
			found.set = &appsv1.StatefulSet{}
			into = found.set
		case "policy/v1 PodDisruptionBudget":
			found.budget = &policyv1.PodDisruptionBudget{}
			into = found.budget
		default:
			t.Fatalf("unexpected object %+v", head)
		}
		if err := yaml.UnmarshalStrict(doc, into); err != nil {
			t.Fatalf("%+v: %v", head, err)
		}
	}
	if found.set == nil || found.budget == nil || len(found.services) != 2 {
		t.Fatalf("objects are missing: %+v", found)
	}
	return found
}

// TestKubernetes_agrees compares what the objects say of each other.
func TestKubernetes_agrees(t *testing.T) {
	o := kubernetes(t)
	spec := o.set.Spec
	labels := spec.Template.Labels
	if !maps.Equal(spec.Selector.MatchLabels, labels) || !maps.Equal(o.budget.Spec.Selector.MatchLabels, labels) {
		t.Errorf("selectors %v and %v, labels %v", spec.Selector.MatchLabels, o.budget.Spec.Selector.MatchLabels, labels)
	}

	agent := spec.Template.Spec.Containers[0]
	ports := map[string]int32{}
	for _, p := range agent.Ports {
		ports[p.Name] = p.ContainerPort
	}
	if want := map[string]int32{"http": 8080, "gossip": 7946, "gossip-udp": 7946, "peer": 7947}; !maps.Equal(ports, want) {
		t.Errorf("ports %v, want %v", ports, want)
	}

	nodes := o.services[0]
	if nodes.Name != spec.ServiceName || nodes.Spec.ClusterIP != "None" || !nodes.Spec.PublishNotReadyAddresses {
		t.Errorf("service %s is not the headless one of the set %s, with pods that are not ready", nodes.Name, spec.ServiceName)
	}
	for _, s := range o.services {
		if !maps.Equal(s.Spec.Selector, labels) {
			t.Errorf("service %s selects %v, labels %v", s.Name, s.Spec.Selector, labels)
		}
	}

	env := map[string]string{}
	for _, e := range agent.Env {
		env[e.Name] = e.Value
	}
	var join []string
	for i := range *spec.Replicas {
		join = append(join, fmt.Sprintf("%s-%d.%s", o.set.Name, i, nodes.Name))
	}
	if env["PIPELINED_JOIN"] != strings.Join(join, ",") || env["PIPELINED_EXPECT"] != fmt.Sprint(len(join)) {
		t.Errorf("join %s, expect %s, want %v", env["PIPELINED_JOIN"], env["PIPELINED_EXPECT"], join)
	}
	if spec.PodManagementPolicy != appsv1.ParallelPodManagement {
		t.Error("the pods are started one by one: the first waits for the others and never gets them")
	}
	for _, m := range agent.VolumeMounts {
		if m.Name != spec.VolumeClaimTemplates[0].Name || !strings.HasPrefix(env["PIPELINED_DATA_DIR"], m.MountPath+"/") {
			t.Errorf("the data directory %s is not on the volume at %s", env["PIPELINED_DATA_DIR"], m.MountPath)
		}
	}
}

// TestKubernetes_probes asks a real agent what the probes ask: over plain HTTP, at its
// address.
func TestKubernetes_probes(t *testing.T) {
	c := harness.Start(t, 1)
	agent := kubernetes(t).set.Spec.Template.Spec.Containers[0]
	for name, probe := range map[string]*corev1.Probe{"startup": agent.StartupProbe, "readiness": agent.ReadinessProbe} {
		get := probe.HTTPGet
		if get == nil || get.Scheme != "" || get.Port.StrVal != "http" {
			t.Fatalf("%s: unexpected probe %+v", name, get)
		}
		res, err := http.Get(c.Nodes[0].URL + get.Path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: GET %s: %s", name, get.Path, res.Status)
		}
	}
}

// variable finds variables of the agent in any file.
var variable = regexp.MustCompile(`\bPIPELINED_[A-Z_]+\b`)

// TestSettings wants each variable in the examples to be a setting of the agent.
func TestSettings(t *testing.T) {
	keys, err := exec.Command(harness.Binary(t), "agent", "-print-config").Output()
	if err != nil {
		t.Fatal(err)
	}
	known := []string{"PIPELINED_KEY", "PIPELINED_IMAGE", "PIPELINED_ADDR", "PIPELINED_KEY_FILE", "PIPELINED_TOKEN", "PIPELINED_CA", "PIPELINED_CA_FILE", "PIPELINED_PORT"}
	for _, m := range regexp.MustCompile(`(?m)^#? ?([a-z_]+) `).FindAllStringSubmatch(string(keys), -1) {
		known = append(known, "PIPELINED_"+strings.ToUpper(m[1]))
	}

	n := 0
	for _, dir := range []string{"examples/deploy", "examples/github-actions"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, name := range variable.FindAllString(string(text), -1) {
				if n++; !slices.Contains(known, name) {
					t.Errorf("%s: %s is no setting", path, name)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n < 20 {
		t.Errorf("only %d variables were found", n)
	}
}

// TestCloudInit checks what a machine gets: the agent accepts the configuration, and the
// shell its commands. With cloud-init here, its schema counts.
func TestCloudInit(t *testing.T) {
	text := example(t, "cloud-init.yaml")
	if !bytes.HasPrefix(text, []byte("#cloud-config\n")) {
		t.Error("the first line does not say what it is")
	}
	var data struct {
		WriteFiles []struct{ Path, Permissions, Content string } `json:"write_files"`
		Runcmd     [][]string
	}
	if err := yaml.UnmarshalStrict(text, &data); err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	key, err := exec.Command(harness.Binary(t), "keygen").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range data.WriteFiles {
		content := strings.NewReplacer("REPLACE-BY-WHAT-KEYGEN-PRINTS", strings.TrimSpace(string(key)), "/etc/pipelined", dir, `"private"`, `"127.0.0.1"`).Replace(f.Content)
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f.Path)), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(harness.Binary(t), "agent", "-config", filepath.Join(dir, "agent.hcl"), "-print-config").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "expect = 3") {
		t.Errorf("%v: %s", err, out)
	}

	script := data.Runcmd[0][len(data.Runcmd[0])-1]
	if out, err := exec.Command("sh", "-nc", script).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}

	if cloudinit, err := exec.LookPath("cloud-init"); err == nil {
		if out, err := exec.Command(cloudinit, "schema", "--config-file", filepath.Join(root, "examples/deploy/cloud-init.yaml")).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}

// TestInstall installs an unpacked release by hand, twice: the second time the configuration
// is kept.
func TestInstall(t *testing.T) {
	release, dest := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(release, "systemd"), 0o755); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		harness.Binary(t): "pipelined",
		filepath.Join(root, "examples/deploy/systemd/install.sh"):       "systemd/install.sh",
		filepath.Join(root, "internal/release/files/pipelined.service"): "systemd/pipelined.service",
		filepath.Join(root, "internal/release/files/agent.hcl"):         "systemd/agent.hcl",
	} {
		if out, err := exec.Command("cp", from, filepath.Join(release, to)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}

	config := filepath.Join(dest, "etc/pipelined/agent.hcl")
	for range 2 {
		cmd := exec.Command("sh", filepath.Join(release, "systemd/install.sh"))
		cmd.Env = append(os.Environ(), "DESTDIR="+dest)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "systemctl enable --now pipelined") {
			t.Fatalf("%v: %s", err, out)
		}
		f, err := os.OpenFile(config, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(f, `max_parallel = 7`)
		f.Close()
	}
	out, err := exec.Command(filepath.Join(dest, "usr/bin/pipelined"), "agent", "-config", config, "-print-config").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "max_parallel") {
		t.Errorf("the configuration was replaced: %v: %s", err, out) // twice the same key is an error
	}

	unit := filepath.Join(dest, "etc/systemd/system/pipelined.service")
	text, err := os.ReadFile(unit)
	if err != nil || !bytes.Contains(text, []byte("ExecStart=/usr/bin/pipelined agent -config /etc/pipelined/agent.hcl ")) {
		t.Errorf("unit: %v\n%s", err, text)
	}
}
