package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// nodePlan is a node: containerd, kubelet and kube-proxy with the paths that any node has.
func nodePlan(p places, o options, n int) plan {
	name := nodeName(n)
	pki := func(file string) string { return filepath.Join(p.pki, file) }
	hosts := "127.0.0.1 localhost\n::1 localhost\n"
	for i := 1; i <= o.Nodes; i++ {
		hosts += nodeAddress(i) + " " + nodeName(i) + "\n"
	}
	files := map[string]string{
		"/etc/hosts":                      hosts,
		"/etc/hostname":                   name + "\n",
		"/etc/resolv.conf":                "nameserver " + outsideAddress + "\n",
		"/etc/containerd/config.toml":     containerdConfig,
		"/etc/kubernetes/kubelet.yaml":    kubeletConfig(p, name),
		"/etc/kubernetes/kube-proxy.yaml": kubeProxyConfig(p, o, name),
	}
	// On the disk from the first start; what somebody changes of it stays, over a reboot too.
	if _, err := os.Stat(p.disk(name)); err != nil {
		files["/etc/cni/net.d/10-cluster.conflist"] = cniConfig(o, n)
	}
	return plan{
		Name:     name,
		Disk:     p.disk(name),
		Cgroup:   cgroupName(name),
		Logs:     p.logs,
		Overlays: []string{"/etc", "/opt", "/var/lib", "/var/log"},
		Binds:    []string{"/var/lib/containerd", "/var/lib/kubelet"},
		// What kubelet wants of the machine's kernel, shown to it as done.
		Pinned: map[string]string{
			"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
			"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
		},
		Sysctls: map[string]string{
			"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1",
			"net/ipv6/conf/default/accept_dad": "0", "net/ipv6/conf/all/accept_dad": "0",
			// So that what a bridge passes between two pods of a node meets kube-proxy's rules.
			"net/bridge/bridge-nf-call-iptables": "1", "net/bridge/bridge-nf-call-ip6tables": "1",
		},
		Copies: map[string]string{"/usr/lib/cni": "/opt/cni/bin"},
		Files:  files,
		Daemons: []daemon{
			{Name: "containerd", Args: []string{"/usr/bin/containerd", "--config=/etc/containerd/config.toml"}},
			{Name: "kubelet", Before: "/run/containerd/containerd.sock", Args: []string{
				filepath.Join(p.bin, "kubelet"), "--config=/etc/kubernetes/kubelet.yaml",
				"--kubeconfig=" + pki(name+".kubeconfig"), "--hostname-override=" + name,
				"--node-ip=" + o.both(nodeAddress(n), nodeV6(n)),
			}},
			{Name: "kube-proxy", Args: []string{
				filepath.Join(p.bin, "kube-proxy"), "--config=/etc/kubernetes/kube-proxy.yaml",
			}},
		},
	}
}

const containerdConfig = `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/culvert-test/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
`

func kubeletConfig(p places, name string) string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /%[1]s
failCgroupV1: false
failSwapOn: false
clusterDNS: [%[2]s]
clusterDomain: cluster.local
resolvConf: /etc/resolv.conf
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %[3]s/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: %[3]s/kubelet-%[4]s.crt
tlsPrivateKeyFile: %[3]s/kubelet-%[4]s.key
enforceNodeAllocatable: []
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%, nodefs.inodesFree: 1%%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
serializeImagePulls: false
maxPods: 250
`, cgroupName(name), dnsServiceIP, p.pki, name)
}

func kubeProxyConfig(p places, o options, name string) string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: %s/kube-proxy.kubeconfig}
hostnameOverride: %s
mode: %s
clusterCIDR: "%s"
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0}
`, p.pki, name, o.ProxyMode, o.both(podCIDR, podCIDRV6))
}

func cniConfig(o options, n int) string {
	ranges := fmt.Sprintf(`[{"subnet": "%s"}]`, nodePods(n))
	if o.DualStack {
		ranges += fmt.Sprintf(`, [{"subnet": "%s"}]`, nodePodsV6(n))
	}
	return fmt.Sprintf(`{
  "cniVersion": "0.4.0",
  "name": "cluster",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "hairpinMode": true,
      "ipam": {
        "type": "host-local", "dataDir": "/run/cni-ipam",
        "ranges": [%s]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`, ranges)
}

// masquerade makes pods leave the cluster by their node's address, with the rules that kube-proxy uses here.
func masquerade(pid int, o options) error {
	run := func(stdin string, args ...string) error {
		c := exec.Command("nsenter", append([]string{"--target", strconv.Itoa(pid), "--net", "--mount"}, args...)...)
		c.Stdin = strings.NewReader(stdin)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %s: %w", args[0], strings.TrimSpace(string(out)), err)
		}
		return nil
	}
	if o.ProxyMode == "nftables" {
		return run(fmt.Sprintf(`table inet cluster-masquerade {
  chain postrouting {
    type nat hook postrouting priority srcnat + 10; policy accept;
    oifname "eth0" ip saddr %[1]s ip daddr != %[1]s masquerade
    oifname "eth0" ip6 saddr %[2]s ip6 daddr != %[2]s masquerade
  }
}
`, podCIDR, podCIDRV6), "nft", "-f", "-")
	}
	for program, cidr := range map[string]string{"iptables": podCIDR, "ip6tables": podCIDRV6} {
		if err := run("", program, "-w", "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-s", cidr, "!", "-d", cidr,
			"-j", "MASQUERADE"); err != nil {
			return err
		}
	}
	return nil
}
