package main

import "path/filepath"

// controlPlan is the place of etcd and the control plane. It is no node: no kubelet, no pods.
func controlPlan(p places, o options) plan {
	pki := func(file string) string { return filepath.Join(p.pki, file) }
	bin := func(name string) string { return filepath.Join(p.bin, name) }
	return plan{
		Name:    controlName,
		Cgroup:  cgroupName(controlName),
		Logs:    p.logs,
		Sysctls: map[string]string{"net/ipv6/conf/default/accept_dad": "0"},
		Daemons: []daemon{
			{Name: "etcd", Args: []string{
				bin("etcd"), "--name=control", "--data-dir=" + filepath.Join(p.disk(controlName), "etcd"),
				"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
				"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
				"--initial-cluster=control=http://127.0.0.1:2380", "--quota-backend-bytes=8589934592",
				// Nothing of this cluster outlives the machine.
				"--unsafe-no-fsync", "--log-level=warn",
			}},
			{Name: "kube-apiserver", Args: []string{
				bin("kube-apiserver"), "--etcd-servers=http://127.0.0.1:2379",
				"--secure-port=6443", "--bind-address=::", "--advertise-address=" + controlAddress,
				"--service-cluster-ip-range=" + o.both(serviceCIDR, serviceCIDRV6),
				"--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"),
				"--client-ca-file=" + pki("ca.crt"),
				"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
				"--service-account-key-file=" + pki("accounts.pub"),
				"--service-account-signing-key-file=" + pki("accounts.key"),
				"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
				"--allow-privileged=true",
				"--kubelet-client-certificate=" + pki("apiserver-kubelet.crt"),
				"--kubelet-client-key=" + pki("apiserver-kubelet.key"),
				"--kubelet-certificate-authority=" + pki("ca.crt"),
				// The nodes' names resolve nowhere.
				"--kubelet-preferred-address-types=InternalIP",
				"--requestheader-client-ca-file=" + pki("front-ca.crt"),
				"--requestheader-allowed-names=front-proxy-client",
				"--requestheader-extra-headers-prefix=X-Remote-Extra-",
				"--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User",
				"--proxy-client-cert-file=" + pki("front-proxy.crt"), "--proxy-client-key-file=" + pki("front-proxy.key"),
				// No kube-proxy here: webhooks are called by their endpoints' addresses.
				"--enable-aggregator-routing=true",
			}},
			{Name: "kube-controller-manager", Args: []string{
				bin("kube-controller-manager"), "--kubeconfig=" + pki("controller-manager.kubeconfig"),
				"--authentication-kubeconfig=" + pki("controller-manager.kubeconfig"),
				"--authorization-kubeconfig=" + pki("controller-manager.kubeconfig"),
				"--service-account-private-key-file=" + pki("accounts.key"), "--root-ca-file=" + pki("ca.crt"),
				"--use-service-account-credentials=true", "--leader-elect=false",
				// A node's pods have the addresses that its number says: `up` writes them.
				"--allocate-node-cidrs=false",
				"--cluster-cidr=" + o.both(podCIDR, podCIDRV6),
				"--service-cluster-ip-range=" + o.both(serviceCIDR, serviceCIDRV6),
			}},
			{Name: "kube-scheduler", Args: []string{
				bin("kube-scheduler"), "--kubeconfig=" + pki("scheduler.kubeconfig"),
				"--authentication-kubeconfig=" + pki("scheduler.kubeconfig"),
				"--authorization-kubeconfig=" + pki("scheduler.kubeconfig"), "--leader-elect=false",
			}},
		},
	}
}
