package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const patience = 10 * time.Second

// request is what the command line asks for: URL --method=M -H name:value --count=N
type request struct {
	url     *url.URL
	method  string
	headers http.Header
	count   int
}

func parse(args []string) (request, error) {
	asked := request{method: http.MethodGet, headers: http.Header{}, count: 1}
	for i := 0; i < len(args); i++ {
		var err error
		name, value, _ := strings.Cut(args[i], "=")
		switch {
		case name == "--method":
			asked.method = value
		case name == "--count":
			asked.count, err = strconv.Atoi(value)
		case name == "-H" && i+1 < len(args):
			i++
			header, value, found := strings.Cut(args[i], ":")
			if !found {
				err = fmt.Errorf("%q is no header", args[i])
			}
			asked.headers.Add(header, strings.TrimSpace(value))
		case asked.url == nil && !strings.HasPrefix(name, "-"):
			asked.url, err = url.Parse(args[i])
		default:
			err = fmt.Errorf("%q is not understood", args[i])
		}
		if err != nil {
			return asked, err
		}
	}
	if asked.url == nil {
		return asked, errors.New("no URL")
	}
	return asked, nil
}

// ask sends the requests one after the other, none of them twice, and prints each answer behind an empty line.
func ask(args []string) error {
	asked, err := parse(args)
	if err != nil {
		return err
	}
	send := overHTTP
	if asked.url.Scheme == "grpc" {
		send = overGRPC
	}
	for range asked.count {
		answer, err := send(asked)
		if err != nil {
			return err
		}
		fmt.Println(answer)
	}
	return nil
}

func overHTTP(asked request) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, asked.method, asked.url.String(), nil)
	if err != nil {
		return "", err
	}
	r.Header = asked.headers.Clone()
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	// A new connection for each, and a redirect is an answer like any other.
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "Url=%s\nStatusCode=%d\n", asked.url, response.StatusCode)
	lines(&text, "ResponseHeader", response.Header)
	text.Write(body)
	return text.String(), nil
}

func overGRPC(asked request) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for name, values := range asked.headers {
		for _, value := range values {
			ctx = metadata.AppendToOutgoingContext(ctx, strings.ToLower(name), value)
		}
	}
	connection, err := grpc.NewClient(asked.url.Host, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		return "", err
	}
	defer connection.Close()
	var header metadata.MD
	answer := new(wrapperspb.StringValue)
	err = connection.Invoke(ctx, "/"+service+"/"+method, wrapperspb.String("echo"), answer, grpc.Header(&header))
	if err != nil {
		return "", err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "Url=%s\nStatusCode=200\n", asked.url)
	lines(&text, "ResponseHeader", header)
	text.WriteString(answer.Value)
	return text.String(), nil
}
