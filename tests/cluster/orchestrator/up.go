package main

import (
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed coredns.yaml
var corednsYAML string

func up(p places, args []string) error {
	o := options{}
	f := flag.NewFlagSet("up", flag.ContinueOnError)
	f.IntVar(&o.Nodes, "nodes", 2, "how many nodes")
	f.BoolVar(&o.DualStack, "dual-stack", false, "IPv4 and IPv6")
	f.StringVar(&o.ProxyMode, "proxy-mode", "nftables", "what kube-proxy uses: nftables or iptables")
	without := f.Bool("no-gateway-api", false, "without the Gateway API's resource definitions")
	if err := f.Parse(args); err != nil {
		return err
	}
	o.GatewayAPI = !*without
	switch {
	case f.NArg() > 0:
		return fmt.Errorf("up takes no argument %q", f.Arg(0))
	case o.Nodes < 1 || o.Nodes > 9:
		return fmt.Errorf("--nodes %d: from 1 to 9", o.Nodes)
	case o.ProxyMode != "nftables" && o.ProxyMode != "iptables":
		return fmt.Errorf("--proxy-mode %s: nftables or iptables", o.ProxyMode)
	case os.Geteuid() != 0:
		return errors.New("this makes namespaces and cgroups: start it as root")
	}
	if err := programs(o); err != nil {
		return err
	}
	if was, err := p.options(); err == nil && pidOf(p, controlName) != 0 {
		if was != o {
			return fmt.Errorf("a cluster is up with other options (%+v): `down` it first", was)
		}
		if err := status(p); err != nil {
			return fmt.Errorf("%w: `down` it first", err)
		}
		return nil
	}
	if err := build(p); err != nil {
		return err
	}
	started := time.Now()
	// What a crash left.
	if err := down(p); err != nil {
		return err
	}
	if err := start(p, o); err != nil {
		return fmt.Errorf("%w\n(logs are in %s; `down` removes what is there)", err, p.logs)
	}
	fmt.Printf("ready in %.0f s: KUBECONFIG=%s\n", time.Since(started).Seconds(), p.kubeconfig)
	return nil
}

// programs checks for what the nodes call. `make deps` installs it.
func programs(o options) error {
	want := []string{"ip", "nsenter", "setpriv", "containerd", "ctr", "runc", "conntrack", "iptables", "ip6tables"}
	if o.ProxyMode == "nftables" {
		want = append(want, "nft")
	}
	var missing []string
	for _, w := range want {
		if _, err := exec.LookPath(w); err != nil {
			missing = append(missing, w)
		}
	}
	if _, err := os.Stat("/usr/lib/cni/bridge"); err != nil {
		missing = append(missing, "/usr/lib/cni/bridge")
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing: %s; `make deps` installs them", strings.Join(missing, ", "))
	}
	return nil
}

func start(p places, o options) error {
	if err := mkdirs(p.state, p.logs); err != nil {
		return err
	}
	if err := p.save(o); err != nil {
		return err
	}
	if err := writePKI(p, o); err != nil {
		return err
	}
	if err := begin(p, plan{Name: switchName, Cgroup: cgroupName(switchName), Logs: p.logs, Sysctls: map[string]string{
		"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "0", "net/bridge/bridge-nf-call-ip6tables": "0",
	}}, wireSwitch); err != nil {
		return err
	}
	if err := begin(p, controlPlan(p, o), func(pid int) error {
		return plug(pidOf(p, switchName), pid, o, controlName, controlAddress, controlV6)
	}); err != nil {
		return err
	}
	images, err := ownImages(p)
	if err != nil {
		return err
	}
	if err := apiReady(p, 60*time.Second); err != nil {
		return err
	}
	if err := apply(p, nodeObjects(o)+corednsYAML); err != nil {
		return err
	}
	for n := 1; n <= o.Nodes; n++ {
		if err := startNode(p, o, n); err != nil {
			return err
		}
	}
	for n := 1; n <= o.Nodes; n++ {
		if err := waitFor(20*time.Second, func() error { return importOn(p, nodeName(n), images) }); err != nil {
			return err
		}
	}
	if o.GatewayAPI {
		text, err := os.ReadFile(filepath.Join(p.out, "gateway-api.yaml"))
		if err != nil {
			return err
		}
		if err := apply(p, string(text)); err != nil {
			return err
		}
	}
	return waitReady(p, 120*time.Second)
}

func startNode(p places, o options, n int) error {
	return begin(p, nodePlan(p, o, n), func(pid int) error {
		if err := plug(pidOf(p, switchName), pid, o, nodeName(n), nodeAddress(n), nodeV6(n)); err != nil {
			return err
		}
		return masquerade(pid, o)
	})
}

// nodeObjects are the nodes before their kubelets come, so that each has the pod addresses of its number.
func nodeObjects(o options) string {
	var out strings.Builder
	for n := 1; n <= o.Nodes; n++ {
		cidrs := `"` + strings.ReplaceAll(o.both(nodePods(n), nodePodsV6(n)), ",", `", "`) + `"`
		fmt.Fprintf(&out, `apiVersion: v1
kind: Node
metadata:
  name: %[1]s
  labels: {kubernetes.io/hostname: %[1]s, kubernetes.io/os: linux, topology.kubernetes.io/zone: zone%[4]d, topology.kubernetes.io/region: here}
spec: {podCIDR: %[2]q, podCIDRs: [%[3]s]}
---
`, nodeName(n), nodePods(n), cidrs, n)
	}
	return out.String()
}

// apiReady waits until the API server says that it is ready.
func apiReady(p places, limit time.Duration) error {
	ca, err := os.ReadFile(filepath.Join(p.pki, "ca.crt"))
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(p.pki, "apiserver-kubelet.crt"), filepath.Join(p.pki, "apiserver-kubelet.key"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		Proxy:           nil,
		TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}},
	}}
	defer client.CloseIdleConnections()
	return waitFor(limit, func() error {
		r, err := client.Get("https://" + controlAddress + ":6443/readyz")
		if err != nil {
			return fmt.Errorf("the API server is not ready: %w", err)
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(r.Body)
			return fmt.Errorf("the API server is not ready: %s", text)
		}
		return nil
	})
}

func waitFor(limit time.Duration, what func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := what()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func kubectl(p places, args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(p.bin, "kubectl"), append([]string{"--kubeconfig", p.kubeconfig}, args...)...)
}

func apply(p places, text string) error {
	c := kubectl(p, "apply", "--server-side", "--force-conflicts", "-f", "-")
	c.Stdin = strings.NewReader(text)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl apply: %s: %w", strings.TrimSpace(string(out)), err)
	}
	return nil
}

// waitReady waits until every node is Ready and DNS answers for the cluster.
func waitReady(p places, limit time.Duration) error {
	return waitFor(limit, func() error { return ready(p) })
}

// ready asks the API server whether every node and DNS are.
func ready(p places) error {
	if err := apiReady(p, 0); err != nil {
		return err
	}
	o, err := p.options()
	if err != nil {
		return err
	}
	out, err := kubectl(p, "get", "nodes", "-o",
		`jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status} {end}`).Output()
	if err != nil {
		return fmt.Errorf("asking for the nodes: %w", err)
	}
	for n := 1; n <= o.Nodes; n++ {
		if !strings.Contains(string(out), nodeName(n)+"=True") {
			return fmt.Errorf("nodes are not ready: %s", out)
		}
	}
	out, err = kubectl(p, "-n", "kube-system", "get", "deployment", "coredns", "-o", "jsonpath={.status.readyReplicas}").Output()
	if err != nil || string(out) != "2" {
		return fmt.Errorf("of 2 replicas of CoreDNS, ready: %q (%v)", out, err)
	}
	return nil
}
