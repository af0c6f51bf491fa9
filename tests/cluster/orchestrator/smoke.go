package main

import (
	"bufio"
	_ "embed"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

//go:embed smoke.yaml
var smokeYAML string

// smoke shows that the cluster is one: a pod on each node, every way to reach them, and the pods' logs, exec and ports.
func smoke(p places) (err error) {
	o, err := p.options()
	if err != nil {
		return err
	}
	image := filepath.Join(p.state, "images", "smoke.tar")
	if err := writeImage(filepath.Join(p.bin, "smoke"), "localhost/culvert-test/smoke:1", image); err != nil {
		return err
	}
	if err := load(p, []string{image}); err != nil {
		return err
	}
	if err := apply(p, smokeYAML); err != nil {
		return err
	}
	defer func() {
		if out, e := kubectl(p, "delete", "namespace", "smoke").CombinedOutput(); e != nil && err == nil {
			err = fmt.Errorf("removing the namespace: %s: %w", out, e)
		}
	}()
	if out, err := kubectl(p, "-n", "smoke", "rollout", "status", "daemonset/smoke", "--timeout=60s").CombinedOutput(); err != nil {
		return fmt.Errorf("pods: %s: %w", out, err)
	}
	out, err := kubectl(p, "-n", "smoke", "get", "pods", "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.status.podIPs[*].ip}{"\n"}{end}`).Output()
	if err != nil {
		return fmt.Errorf("asking for the pods: %w", err)
	}
	pods := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(pods) != o.Nodes {
		return fmt.Errorf("%d nodes, and pods: %q", o.Nodes, pods)
	}
	for _, from := range pods {
		asker := strings.Fields(from)[0]
		for _, to := range pods {
			server, addresses := strings.Fields(to)[0], strings.Fields(to)[1:]
			for _, address := range addresses {
				if strings.Contains(address, ":") {
					address = "[" + address + "]"
				}
				if err := ask(p, asker, "http://"+address+":8080", server); err != nil {
					return err
				}
			}
		}
		// By name and cluster IP, often enough that both answer, the asker itself too; and by each node's port.
		for range 6 {
			if err := ask(p, asker, "http://smoke.smoke.svc.cluster.local", "smoke-"); err != nil {
				return err
			}
		}
		for n := 1; n <= o.Nodes; n++ {
			if err := ask(p, asker, fmt.Sprintf("http://%s:30080", nodeAddress(n)), "smoke-"); err != nil {
				return err
			}
		}
	}
	for n := 1; n <= o.Nodes; n++ {
		client := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
		r, err := client.Get(fmt.Sprintf("http://%s:30080", nodeAddress(n)))
		if err != nil {
			return fmt.Errorf("node port from outside: %w", err)
		}
		r.Body.Close()
	}
	asker := strings.Fields(pods[0])[0]
	if out, err := kubectl(p, "-n", "smoke", "logs", asker).CombinedOutput(); err != nil || string(out) != "serving\n" {
		return fmt.Errorf("logs: %s (%v)", out, err)
	}
	if err := forward(p, asker); err != nil {
		return fmt.Errorf("port-forward: %w", err)
	}
	fmt.Println("smoke: pods, both families if there are two, DNS, services, node ports, exec, logs and port-forward work")
	return nil
}

func ask(p places, pod, url, want string) error {
	out, err := kubectl(p, "-n", "smoke", "exec", pod, "--", "/smoke", "get", url).CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), want) {
		return fmt.Errorf("%s asks %s: %q (%v)", pod, url, out, err)
	}
	return nil
}

func forward(p places, pod string) error {
	c := kubectl(p, "-n", "smoke", "port-forward", pod, ":8080", "--address=127.0.0.1")
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	defer func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return err
	}
	var port int
	if _, err := fmt.Sscanf(line, "Forwarding from 127.0.0.1:%d", &port); err != nil {
		return fmt.Errorf("%q: %w", line, err)
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	r, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	return r.Body.Close()
}
