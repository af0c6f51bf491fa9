package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// ports is a flag that may be given several times.
type ports []int

func (p *ports) String() string { return fmt.Sprint([]int(*p)) }

func (p *ports) Set(text string) error {
	port, err := strconv.Atoi(text)
	*p = append(*p, port)
	return err
}

// serve answers on all ports until one of them fails.
func serve(args []string) error {
	var plain, secure, rpc, raw ports
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	flags.Var(&plain, "port", "HTTP/1.1 and HTTP/2")
	flags.Var(&secure, "tls", "those of the HTTP ports that speak TLS")
	flags.Var(&rpc, "grpc", "gRPC")
	flags.Var(&raw, "tcp", "bytes, sent back")
	certificate := flags.String("crt", "", "certificate")
	key := flags.String("key", "", "its key")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if len(plain)+len(rpc)+len(raw) == 0 {
		// A pod that only asks is started without flags, and has to stay.
		plain = ports{8080}
	}
	failed := make(chan error)
	each := func(ports []int, serve func(net.Listener) error) {
		for _, port := range ports {
			go func() {
				listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
				if err == nil {
					err = serve(listener)
				}
				failed <- fmt.Errorf("port %d: %w", port, err)
			}()
		}
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	web := &http.Server{Handler: http.HandlerFunc(echo), Protocols: protocols}
	plain = slices.DeleteFunc(plain, func(port int) bool { return slices.Contains(secure, port) })
	each(plain, web.Serve)
	each(secure, func(listener net.Listener) error { return web.ServeTLS(listener, *certificate, *key) })
	each(rpc, rpcServer().Serve)
	each(raw, sendBack)
	return <-failed
}

// echo says who answers and what was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	name := ""
	if r.TLS != nil {
		name = r.TLS.ServerName + " " + tls.VersionName(r.TLS.Version)
	}
	address := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	_, _ = io.WriteString(w, said(r.Method, r.Proto, r.URL.RequestURI(), r.Host, address, name, r.Header))
}

// said is an answer in lines that the suite's parser knows.
func said(method, proto, url, host string, address net.Addr, tls string, headers map[string][]string) string {
	var text strings.Builder
	hostname, _ := os.Hostname()
	version, _, _ := strings.Cut(strings.TrimPrefix(hostname, "echo-"), "-")
	_, port, _ := net.SplitHostPort(address.String())
	for _, line := range [][2]string{
		{"ServiceVersion", version}, {"ServicePort", port}, {"Host", host}, {"URL", url}, {"Method", method},
		{"Proto", proto}, {"ServerName", tls}, {"Hostname", hostname},
	} {
		fmt.Fprintf(&text, "%s=%s\n", line[0], line[1])
	}
	lines(&text, "RequestHeader", headers)
	return text.String()
}

func lines(text *strings.Builder, what string, headers map[string][]string) {
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		for _, value := range headers[name] {
			fmt.Fprintf(text, "%s=%s:%s\n", what, name, value)
		}
	}
}

const (
	service = "culvert.test.Echo"
	method  = "Echo"
)

// rpcServer answers one method by what it was asked with.
func rpcServer() *grpc.Server {
	answer := func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		if err := decode(new(wrapperspb.StringValue)); err != nil {
			return nil, err
		}
		asked, _ := metadata.FromIncomingContext(ctx)
		host := strings.Join(asked.Get(":authority"), ",")
		from, _ := peer.FromContext(ctx)
		return wrapperspb.String(said("POST", "HTTP/2.0", "/"+service+"/"+method, host, from.LocalAddr, "", asked)), nil
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: service,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: method, Handler: answer}},
	}, struct{}{})
	return server
}

func sendBack(listener net.Listener) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		}()
	}
}
