package instantaudience

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
)

func encodedPem(kind string, content []byte, headers map[string]string) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content, Headers: headers})
}

func TestAKeyIsFoundWhateverStandsAroundIt(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(key)
	sec1, _ := x509.MarshalECPrivateKey(key)
	wrapped, bare := encodedPem("PRIVATE KEY", pkcs8, nil), encodedPem("EC PRIVATE KEY", sec1, nil)
	certificate := encodedPem("CERTIFICATE", []byte("x"), nil)
	for name, text := range map[string][]byte{
		"as it is":                   wrapped,
		"behind its parameters":      slices.Concat(encodedPem("EC PARAMETERS", []byte("x"), nil), bare),
		"behind its certificate":     slices.Concat(certificate, wrapped),
		"before its certificate":     slices.Concat(wrapped, certificate),
		"behind a byte order mark":   slices.Concat([]byte("\ufeff"), wrapped),
		"behind what openssl writes": slices.Concat([]byte("Bag Attributes\n"), wrapped),
	} {
		if found, err := parseKey(text); err != nil || !key.Equal(found) {
			t.Error(name, err)
		}
	}
	for text, problem := range map[string]string{
		"":                  "there is no private key in PEM form",
		string(certificate): "there is no private key in PEM form",
		string(encodedPem("ENCRYPTED PRIVATE KEY", pkcs8, nil)):                                     "is encrypted",
		string(encodedPem("EC PRIVATE KEY", sec1, map[string]string{"DEK-Info": "AES-256-CBC,00"})): "is encrypted",
	} {
		if _, err := parseKey([]byte(text)); err == nil || !strings.Contains(err.Error(), problem) {
			t.Error(problem, err)
		}
	}
}

func TestACertificateIsAddedToNobodyElsesConfiguration(t *testing.T) {
	theirs := &tls.Config{Certificates: make([]tls.Certificate, 0, 1)}
	security(&settings{tls: theirs, certificate: &tls.Certificate{Certificate: [][]byte{{1}}}})
	if shared := theirs.Certificates[:1]; shared[0].Certificate != nil {
		t.Error("two clients with this configuration would show the same certificate")
	}
}
