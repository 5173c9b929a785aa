// Package cluster runs a real Kubernetes API on a node: etcd and kube-apiserver, without
// the other half of a cluster. A kubelet would need a node whose cgroups it may divide, so
// a loop replaces it: it keeps the node's conditions, which is all that an installer
// waits for.
package cluster

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/node"
)

// The names of the node, and of the port of the node's loopback that pods speak to.
const (
	NodeName = "node"
	PodPort  = "8443"
)

const (
	server = "https://127.0.0.1:6443"
	folder = "/etc/kubernetes/"
)

// Cluster is an API. Its methods act as an administrator.
type Cluster struct {
	// Front is what pods speak to.
	Front  *Front
	token  string
	client *http.Client
	// key signs the tokens of service accounts, and the certificate of the servers, which
	// their clients trust.
	key, certificate []byte
}

// New makes the key of a cluster.
func New() (*Cluster, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of the cluster: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kube-apiserver"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 2),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	key, failed := x509.MarshalECPrivateKey(private)
	if err = errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("making the certificate of the cluster: %w", err)
	}
	return &Cluster{
		token: rand.Text(), key: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key}),
		certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
	}, nil
}

// Units are the units of Files.
func Units() []string { return []string{"etcd.service", "kube-apiserver.service"} }

const etcdUnit = `[Service]
Type=notify
ExecStart=/usr/local/bin/etcd --data-dir /var/lib/etcd --unsafe-no-fsync --log-level=error
`

const serverUnit = `[Unit]
After=etcd.service
[Service]
Type=notify
TimeoutStartSec=300
ExecStart=/usr/local/bin/kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=127.0.0.1 --advertise-address=192.0.2.1 \
  --authorization-mode=RBAC --token-auth-file=%[1]stokens.csv --endpoint-reconciler-type=none \
  --tls-cert-file=%[1]sserver.crt --tls-private-key-file=%[1]sserver.key \
  --service-account-key-file=%[1]sserver.key --service-account-signing-key-file=%[1]sserver.key \
  --service-account-issuer=https://kubernetes.default.svc --service-cluster-ip-range=10.96.0.0/24 \
  --allow-privileged --enable-priority-and-fairness=false -v=0
`

// Files are the files of the node that the API needs.
func (c *Cluster) Files() map[string]string {
	return map[string]string{
		"/etc/systemd/system/etcd.service":           etcdUnit,
		"/etc/systemd/system/kube-apiserver.service": fmt.Sprintf(serverUnit, folder),
		folder + "tokens.csv":                        c.token + ",admin,admin,system:masters\n",
		folder + "server.crt":                        string(c.certificate),
		folder + "server.key":                        string(c.key),
	}
}

// Authority is the certificate that pods trust.
func (c *Cluster) Authority() []byte { return c.certificate }

// Connect waits until the API serves on a node, and makes the node's object and Front.
func (c *Cluster) Connect(ctx context.Context, n *node.Node, limit time.Duration) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.certificate)
	c.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, address string) (connection net.Conn, err error) {
			err = n.Inside(func() error {
				connection, err = new(net.Dialer).DialContext(ctx, network, address)
				return err
			})
			return connection, err
		},
	}}
	timed, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	const pause = 100 * time.Millisecond
	for {
		err := c.Do(timed, http.MethodGet, "/readyz", nil, nil)
		if err == nil {
			break
		}
		select {
		case <-timed.Done():
			printed, _ := n.Run(ctx, "journalctl", "--no-pager", "-n", "20", "-u", "kube-apiserver", "-u", "etcd")
			return fmt.Errorf("kube-apiserver does not serve: %w\n%s", err, printed)
		case <-time.After(pause):
		}
	}
	object := map[string]any{"kind": "Node", "apiVersion": "v1", "metadata": map[string]any{"name": NodeName, "labels": map[string]string{"kubernetes.io/os": "linux"}}}
	if err := c.Do(ctx, http.MethodPost, "/api/v1/nodes", object, nil); err != nil {
		return err
	}
	var err error
	c.Front, err = c.serveFront(ctx, n)
	return err
}

// Refusal is the answer of an API that did not do what it was asked.
type Refusal struct {
	Status int
	Text   string
}

// Error has the status and the message.
func (r *Refusal) Error() string { return fmt.Sprintf("HTTP status %d: %s", r.Status, r.Text) }

// Status returns the HTTP status that an error has, 0 for none.
func Status(err error) int {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return refusal.Status
	}
	return 0
}

// Do sends a request with a JSON body, which may be nil, and decodes the answer if out is
// not nil. A PATCH is a merge.
func (c *Cluster) Do(ctx context.Context, method, path string, body, out any) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s %s: %w", method, path, err)
		}
	}()
	var data []byte
	if body != nil {
		if data, err = json.Marshal(body); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, server+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	reply, err := c.client.Do(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	const most = 8 << 20
	data, err = io.ReadAll(io.LimitReader(reply.Body, most))
	switch {
	case err != nil:
		return err
	case reply.StatusCode/100 != http.StatusOK/100:
		var status struct{ Message string }
		_ = json.Unmarshal(data, &status) // An answer without a message has only a status.
		return &Refusal{reply.StatusCode, status.Message}
	case out != nil:
		return json.Unmarshal(data, out)
	}
	return nil
}

// Token returns a token of a service account.
func (c *Cluster) Token(ctx context.Context, namespace, account string) (string, error) {
	request := map[string]any{"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": map[string]any{"expirationSeconds": 36000}}
	var answer struct{ Status struct{ Token string } }
	err := c.Do(ctx, http.MethodPost, "/api/v1/namespaces/"+namespace+"/serviceaccounts/"+account+"/token", request, &answer)
	return answer.Status.Token, err
}

// Report sets the node's conditions and runtime, as a kubelet does.
func (c *Cluster) Report(ctx context.Context, runtime string, ready bool) error {
	status, now := "False", time.Now().UTC().Format(time.RFC3339)
	if ready {
		status = "True"
	}
	condition := map[string]any{"type": "Ready", "status": status, "reason": "StandIn", "message": "set by the stand-in for the kubelet", "lastHeartbeatTime": now, "lastTransitionTime": now}
	return c.Do(ctx, http.MethodPatch, "/api/v1/nodes/"+NodeName+"/status", map[string]any{"status": map[string]any{
		"conditions": []any{condition},
		"nodeInfo": map[string]string{
			"containerRuntimeVersion": runtime, "machineID": "m", "systemUUID": "s", "bootID": "b", "kernelVersion": "k",
			"osImage": "stand-in", "kubeletVersion": "v1.34.3", "kubeProxyVersion": "v1.34.3", "operatingSystem": "linux", "architecture": "amd64",
		},
	}}, nil)
}

// Labels returns the labels of the node.
func (c *Cluster) Labels(ctx context.Context) (map[string]string, error) {
	var object struct {
		Metadata struct{ Labels map[string]string }
	}
	err := c.Do(ctx, http.MethodGet, "/api/v1/nodes/"+NodeName, nil, &object)
	return object.Metadata.Labels, err
}
