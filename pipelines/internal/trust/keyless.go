package trust

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/sign"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// Job is where a job of GitHub Actions gets tokens of its identity: the variables
// ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN.
type Job struct{ URL, Token string }

// audience is whom the tokens are for.
const audience = "sigstore"

// keyless signs with a key that lives as long as the process, and certificates for the
// identity of the job.
type keyless struct {
	policy *Policy
	job    Job
	client *http.Client

	mu      sync.Mutex
	keypair sign.Keypair
	// certificate is in DER, and expires soon.
	certificate []byte
	made        time.Time
}

// lifetime is how long a certificate is used: Fulcio's are valid for ten minutes.
const lifetime = 5 * time.Minute

// Keyless returns a signer with the identity of a job. The policy names the services and
// their roots, and has to accept the identity: the signer looks for its earlier signatures
// with it.
func Keyless(job Job, p *Policy) (*Signer, error) {
	switch {
	case job.URL == "" || job.Token == "":
		return nil, errors.New("signing with an identity works only in a job of GitHub Actions with the permission id-token: write: elsewhere, name a key")
	case p == nil || p.material == nil:
		return nil, fmt.Errorf("signing with an identity needs the identity and sigstore.root in %s: see docs/trust.md", PolicyFile)
	}
	keypair, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return &Signer{keyless: &keyless{policy: p, job: job, client: web.NewClient(web.Options{Subject: "sigstore"}), keypair: keypair}, own: p}, nil
}

// sign signs with the services of the policy, and checks the result against their roots.
func (k *keyless) sign(ctx context.Context, content sign.Content) (*protobundle.Bundle, error) {
	services := k.policy.Sigstore
	return sign.Bundle(content, k.keypair, sign.BundleOptions{
		Context: ctx, TrustedRoot: k.policy.material, CertificateProvider: k,
		TransparencyLogs: []sign.Transparency{sign.NewRekor(&sign.RekorOptions{BaseURL: services.Rekor, Retries: 2})},
		TimestampAuthorities: []*sign.TimestampAuthority{sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{
			URL: services.Timestamps, Retries: 2, Transport: k.client.Transport,
		})},
	})
}

// GetCertificate returns a certificate for the key, at most lifetime old.
func (k *keyless) GetCertificate(ctx context.Context, pair sign.Keypair, _ *sign.CertificateProviderOptions) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.made) < lifetime {
		return k.certificate, nil
	}
	token, err := k.token(ctx)
	if err != nil {
		return nil, fmt.Errorf("getting a token for the identity of the job: %w", err)
	}
	fulcio := sign.NewFulcio(&sign.FulcioOptions{BaseURL: k.policy.Sigstore.Fulcio, Retries: 2, Transport: k.client.Transport})
	certificate, err := fulcio.GetCertificate(ctx, pair, &sign.CertificateProviderOptions{IDToken: token})
	if err != nil {
		return nil, fmt.Errorf("getting a certificate for the identity of the job: %w", err)
	}
	k.certificate, k.made = certificate, time.Now()
	return certificate, nil
}

// token returns a token of the job's identity.
func (k *keyless) token(ctx context.Context) (string, error) {
	address, err := url.Parse(k.job.URL)
	if err != nil {
		return "", errors.New("ACTIONS_ID_TOKEN_REQUEST_URL is not a URL")
	}
	query := address.Query()
	query.Set("audience", audience)
	address.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), http.NoBody)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+k.job.Token)
	response, err := k.client.Do(request)
	if err != nil {
		return "", web.Clean(err)
	}
	defer response.Body.Close()
	var said struct{ Value string }
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s", address.Host, web.StatusText(response.StatusCode))
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, response.Body, 1<<20)).Decode(&said); err != nil || said.Value == "" {
		return "", fmt.Errorf("%s answered without a token", address.Host)
	}
	return said.Value, nil
}
