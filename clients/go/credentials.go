package instantaudience

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	pb "github.com/instantaudience/instantaudience/clients/go/instantaudiencev1"
	"google.golang.org/protobuf/proto"
)

// signIn requests a token, by calls without one.
type signIn func(ctx context.Context, public *caller) (*pb.AuthenticateResult, error)

func byPassword(username, password string) signIn {
	return func(ctx context.Context, public *caller) (*pb.AuthenticateResult, error) {
		request := &pb.AuthenticateRequest{Auth: &pb.Credentials{Username: username, Password: password}}
		answer := new(pb.AuthenticateResponse)
		says := func() bool { return isToken(answer.GetResponse()) }
		err := public.call(ctx, pb.AuthenticationService_Authenticate_FullMethodName, request, answer, says)
		return answer.GetResponse(), err
	}
}

func byKeyPair(username, keyName string, key crypto.Signer) signIn {
	return func(ctx context.Context, public *caller) (*pb.AuthenticateResult, error) {
		requested := func() (proto.Message, error) {
			jwt, err := assertion(username, keyName, key, time.Now())
			return &pb.AuthenticateWithJwtRequest{Jwt: jwt}, err
		}
		answer := new(pb.AuthenticateWithJwtResponse)
		says := func() bool { return isToken(answer.GetResponse()) }
		err := public.callAnew(
			ctx, pb.AuthenticationService_AuthenticateWithJwt_FullMethodName, requested, answer, says)
		return answer.GetResponse(), err
	}
}

// isToken reports whether the result has a token that can be sent.
func isToken(result *pb.AuthenticateResult) bool {
	return result.GetToken() != "" && canBeSent(result.GetToken())
}

// parseKey reads the first private key, RSA or P-256, from PEM. Text before it, as openssl writes it, is skipped.
func parseKey(text []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(bytes.TrimPrefix(text, []byte("\ufeff")))
	for block != nil && !strings.HasSuffix(block.Type, "PRIVATE KEY") {
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("there is no private key in PEM form")
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
		return nil, errors.New("the private key is encrypted; `openssl pkcs8 -topk8 -nocrypt` makes one that is not")
	}
	var key any
	var err error
	switch block.Type {
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("the private key cannot be read: %w", err)
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case *ecdsa.PrivateKey:
		if key.Curve == elliptic.P256() {
			return key, nil
		}
	}
	return nil, errors.New("the private key is neither RSA nor P-256")
}

// assertion returns a JWT (RFC 7519) that proves possession of the key.
func assertion(username, keyName string, key crypto.Signer, now time.Time) (string, error) {
	_, isEC := key.(*ecdsa.PrivateKey)
	header := map[string]any{"alg": "RS256", "typ": "JWT", "kid": keyName}
	if isEC {
		header["alg"] = "ES256"
	}
	claims := map[string]any{"sub": username, "iat": now.Unix(), "exp": now.Unix() + assertionSeconds}
	signed := encoded(header) + "." + encoded(claims)
	digest := sha256.Sum256([]byte(signed))
	var signature []byte
	var err error
	if isEC {
		signature, err = signES256(key.(*ecdsa.PrivateKey), digest[:])
	} else {
		signature, err = key.Sign(rand.Reader, digest[:], crypto.SHA256)
	}
	if err != nil {
		return "", fmt.Errorf("the private key does not sign: %w", err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// signES256 returns the signature's two numbers concatenated (RFC 7518, section 3.4), not in ASN.1.
func signES256(key *ecdsa.PrivateKey, digest []byte) ([]byte, error) {
	r, s, err := ecdsa.Sign(rand.Reader, key, digest)
	if err != nil {
		return nil, err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signature, nil
}

func encoded(object map[string]any) string {
	text, err := json.Marshal(object)
	if err != nil {
		panic(err) // Strings and numbers alone.
	}
	return base64.RawURLEncoding.EncodeToString(text)
}
