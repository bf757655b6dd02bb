package instantaudience

import (
	"fmt"
	"regexp"
	"strconv"
)

// endpointForm is a name or an IPv4 address, or one of IPv6 in brackets, and a port, which may be missing.
var endpointForm = regexp.MustCompile(
	`^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\])(?::([1-9][0-9]{0,4}))?$`)

const mostPort = 65535

// checkEndpoint fails if this is not host:port: gRPC would fail late of most else.
func checkEndpoint(endpoint string) error {
	if form := endpointForm.FindStringSubmatch(endpoint); form != nil {
		if port, _ := strconv.Atoi(form[1]); port <= mostPort {
			return nil
		}
	}
	return fmt.Errorf("endpoint is %q: it has to be host:port and nothing else, with a port from 1 to %d and brackets "+
		"around an IPv6 address; without TLS, add WithPlaintext", endpoint, mostPort)
}
