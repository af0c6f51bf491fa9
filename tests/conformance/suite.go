//go:build suite

// Package conformance pins the suite, which `go test -c` makes a program of.
package conformance

import _ "sigs.k8s.io/gateway-api/conformance"
