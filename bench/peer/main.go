// Peer is a Go service of the same main job, hand-tuned, without accounts, quotas, usage, sizes or a catalog: what the
// benchmark compares the service with.
//
//	peer NODE0 NODE1 NODE2
//
// The nodes are the primaries of a cluster of three, in the order of their slots. It listens on free ports, and says on
// two lines where: first for HTTP, then for gRPC.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"runtime/debug"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"

	pb "peer/audience"
)

// The service keeps little and makes much garbage: collecting a quarter as often costs some MB.
const gcPercent = 400

func main() {
	if len(os.Args) != 1+nodeCount {
		log.Fatalf("usage: peer NODE0 NODE1 NODE2")
	}
	debug.SetGCPercent(gcPercent)
	service := &audienceService{}
	for i, address := range os.Args[1:] {
		service.nodes[i] = connect(address)
	}
	overHTTP, overGRPC := listen(), listen()
	fmt.Printf("http on %s\ngrpc on %s\n", overHTTP.Addr(), overGRPC.Addr())

	server := grpc.NewServer()
	pb.RegisterAudienceServiceServer(server, service)
	go func() { log.Fatal(server.Serve(overGRPC)) }()

	gateway := runtime.NewServeMux(runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.JSONPb{
		MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true},
		UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
	}))
	if err := pb.RegisterAudienceServiceHandlerServer(context.Background(), gateway, service); err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(overHTTP, h2c.NewHandler(gateway, &http2.Server{})))
}

func listen() net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	return listener
}
