// A load balancer for a cluster without one: every Service of type LoadBalancer gets an address of a network, the one that
// it asks for or none if it asks for one, and kube-proxy does the rest.
//
//	balancer NETWORK     (with KUBECONFIG; until it is killed)
package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"

	core "k8s.io/api/core/v1"
	failures "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "balancer NETWORK")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "balancer: "+err.Error())
		os.Exit(1)
	}
}

func run(text string) error {
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 100, 100
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	b := balancer{client: client, network: network.Masked(), addresses: map[types.UID]netip.Addr{}}
	for {
		// Whatever went wrong, what is there is listed anew.
		if err := b.follow(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "balancer: "+err.Error())
		}
		time.Sleep(time.Second)
	}
}

type balancer struct {
	client    kubernetes.Interface
	network   netip.Prefix
	addresses map[types.UID]netip.Addr
}

// follow serves all Services there are, then each that changes, until the watch ends.
func (b *balancer) follow(ctx context.Context) error {
	list, err := b.client.CoreV1().Services(meta.NamespaceAll).List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	clear(b.addresses)
	// Nobody gets what somebody has.
	for i := range list.Items {
		b.learn(&list.Items[i])
	}
	for i := range list.Items {
		if err := b.serve(ctx, &list.Items[i]); err != nil {
			return err
		}
	}
	options := meta.ListOptions{ResourceVersion: list.ResourceVersion}
	events, err := b.client.CoreV1().Services(meta.NamespaceAll).Watch(ctx, options)
	if err != nil {
		return err
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		service, ok := event.Object.(*core.Service)
		switch {
		case !ok:
			return fmt.Errorf("the watch ended: %v", event.Object)
		case event.Type == watch.Deleted:
			delete(b.addresses, service.UID)
		default:
			if err := b.serve(ctx, service); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *balancer) learn(service *core.Service) {
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		if address, err := netip.ParseAddr(ingress.IP); err == nil && b.network.Contains(address) {
			b.addresses[service.UID] = address
		}
	}
}

// serve gives a Service its address, or takes it from one that wants none any more.
func (b *balancer) serve(ctx context.Context, service *core.Service) error {
	if service.Spec.Type != core.ServiceTypeLoadBalancer {
		delete(b.addresses, service.UID)
		return nil
	}
	b.learn(service)
	address, given := b.addresses[service.UID]
	ingress := "null"
	if wanted := service.Spec.LoadBalancerIP; wanted != "" {
		if given && address.String() == wanted && len(service.Status.LoadBalancer.Ingress) > 0 {
			return nil
		}
		delete(b.addresses, service.UID)
		asked, err := netip.ParseAddr(wanted)
		if err == nil && b.network.Contains(asked) && !b.taken()[asked] {
			b.addresses[service.UID] = asked
			ingress = fmt.Sprintf(`[{"ip":%q}]`, asked)
		} else if len(service.Status.LoadBalancer.Ingress) == 0 {
			return nil
		}
	} else {
		if len(service.Status.LoadBalancer.Ingress) > 0 {
			return nil
		}
		if !given {
			var err error
			if address, err = b.free(); err != nil {
				return err
			}
			b.addresses[service.UID] = address
		}
		ingress = fmt.Sprintf(`[{"ip":%q}]`, address)
	}
	patch := fmt.Sprintf(`{"metadata":{"uid":%q},"status":{"loadBalancer":{"ingress":%s}}}`, service.UID, ingress)
	services := b.client.CoreV1().Services(service.Namespace)
	_, err := services.Patch(ctx, service.Name, types.MergePatchType, []byte(patch), meta.PatchOptions{}, "status")
	// It is gone, or another one has its name: the watch tells.
	if err != nil && !failures.IsNotFound(err) && !failures.IsConflict(err) {
		return fmt.Errorf("%s/%s: %w", service.Namespace, service.Name, err)
	}
	return nil
}

// taken are the addresses that Services have.
func (b *balancer) taken() map[netip.Addr]bool {
	taken := map[netip.Addr]bool{}
	for _, address := range b.addresses {
		taken[address] = true
	}
	return taken
}

// free is the first address that no Service has: not the network's own, and not its last.
func (b *balancer) free() (netip.Addr, error) {
	taken := b.taken()
	address := b.network.Addr().Next()
	for ; b.network.Contains(address.Next()); address = address.Next() {
		if !taken[address] {
			return address, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("all addresses of %s are taken", b.network)
}
