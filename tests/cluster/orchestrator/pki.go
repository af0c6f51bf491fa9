package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority signs what a cluster needs. A new one for each `up`; nothing of it is worth keeping.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
}

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // the kernel's random numbers do not fail
	}
	return n
}

// issue makes a certificate that serves both ends.
func (a *authority) issue(name string, groups []string, dns []string, ips []string) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: name, Organization: groups},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:     dns,
	}
	for _, ip := range ips {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(ip))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, k.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := pemKey(k)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM, nil
}

func pemKey(k *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// writePKI makes every certificate and kubeconfig of the cluster.
func writePKI(p places, o options) error {
	if err := os.MkdirAll(p.pki, 0o700); err != nil {
		return err
	}
	ca, err := newAuthority("culvert-test-cluster")
	if err != nil {
		return err
	}
	front, err := newAuthority("culvert-test-cluster-front-proxy")
	if err != nil {
		return err
	}
	accounts, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	accountsKey, err := pemKey(accounts)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(accounts.Public())
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"ca.crt":       ca.pem,
		"front-ca.crt": front.pem,
		"accounts.key": accountsKey,
		"accounts.pub": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}),
	}
	pair := func(a *authority, file, name string, groups, dns, ips []string) error {
		cert, key, err := a.issue(name, groups, dns, ips)
		files[file+".crt"], files[file+".key"] = cert, key
		return err
	}
	if err := pair(ca, "apiserver", "kube-apiserver", nil,
		[]string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"},
		[]string{apiServiceIP, apiServiceIPV6, controlAddress, controlV6, "127.0.0.1", "::1"}); err != nil {
		return err
	}
	if err := pair(ca, "apiserver-kubelet", "kube-apiserver-kubelet-client", []string{"system:masters"}, nil, nil); err != nil {
		return err
	}
	if err := pair(front, "front-proxy", "front-proxy-client", nil, nil, nil); err != nil {
		return err
	}
	users := map[string][2]string{
		"admin":              {"kubernetes-admin", "system:masters"},
		"controller-manager": {"system:kube-controller-manager", ""},
		"scheduler":          {"system:kube-scheduler", ""},
		"kube-proxy":         {"system:kube-proxy", ""},
	}
	for n := 1; n <= o.Nodes; n++ {
		users[nodeName(n)] = [2]string{"system:node:" + nodeName(n), "system:nodes"}
		if err := pair(ca, "kubelet-"+nodeName(n), nodeName(n), nil, []string{nodeName(n)},
			[]string{nodeAddress(n), nodeV6(n)}); err != nil {
			return err
		}
	}
	for file, user := range users {
		var groups []string
		if user[1] != "" {
			groups = []string{user[1]}
		}
		cert, key, err := ca.issue(user[0], groups, nil, nil)
		if err != nil {
			return err
		}
		files[file+".kubeconfig"] = kubeconfig(ca.pem, cert, key)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(p.pki, name), text, 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(p.kubeconfig, files["admin.kubeconfig"], 0o600)
}

func kubeconfig(ca, cert, key []byte) []byte {
	b := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: culvert
clusters:
- name: culvert
  cluster: {server: "https://%s:6443", certificate-authority-data: %s}
users:
- name: user
  user: {client-certificate-data: %s, client-key-data: %s}
contexts:
- name: culvert
  context: {cluster: culvert, user: user}
`, controlAddress, b(ca), b(cert), b(key))
}
