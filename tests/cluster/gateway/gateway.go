// Package gateway pins the Gateway API, of which only config/crd/standard is used.
package gateway

import _ "sigs.k8s.io/gateway-api/apis/v1"
