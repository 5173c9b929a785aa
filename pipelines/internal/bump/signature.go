package bump

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// DefaultKeyserver answers with the OpenPGP key of a fingerprint. It is not trusted: the
// fingerprint decides.
const DefaultKeyserver = "https://keyserver.ubuntu.com/pks/lookup?op=get&options=mr&search=0x"

// errNoSignature is the error of a file without a signature, or without declared signers.
var errNoSignature = errors.New("no signature")

func (m *move) signers(ctx context.Context) (keys openpgp.EntityList, err error) {
	if len(m.entry.Signers) == 0 {
		return nil, errNoSignature
	}
	var failed []error
	for _, fingerprint := range m.entry.Signers {
		text, err := ask(m.Bumper, "key "+fingerprint, func() (string, error) { return m.Sources.Text(ctx, m.Keyserver+fingerprint) })
		if err != nil {
			failed = append(failed, fmt.Errorf("looking for the key %s: %w", fingerprint, err))
			continue
		}
		found, err := openpgp.ReadArmoredKeyRing(strings.NewReader(text))
		if err != nil {
			failed = append(failed, fmt.Errorf("reading the key %s: %w", fingerprint, err))
		}
		for _, key := range found {
			if fingerprintOf(key) == fingerprint {
				keys = append(keys, key)
			}
		}
	}
	if len(keys) == 0 {
		return nil, cmp.Or(errors.Join(failed...), fmt.Errorf("the key server has other keys than %s", strings.Join(m.entry.Signers, ", ")))
	}
	return keys, nil
}

func fingerprintOf(key *openpgp.Entity) string {
	return fmt.Sprintf("%X", key.PrimaryKey.Fingerprint)
}

// signedText returns the part of a text that one of the signers signed, and who did.
func (m *move) signedText(ctx context.Context, text string) (signed, by string, err error) {
	block, _ := clearsign.Decode([]byte(text))
	if block == nil {
		return "", "", errNoSignature
	}
	keys, err := m.signers(ctx)
	if err != nil {
		return "", "", err
	}
	signer, err := block.VerifySignature(keys, nil)
	if err != nil {
		return "", "", &SignatureError{err}
	}
	return string(block.Bytes), fingerprintOf(signer), nil
}

// signature checks the signature that upstream publishes next to a file, and returns who
// made it.
func (m *move) signature(ctx context.Context, url, path string) (by string, err error) {
	keys, err := m.signers(ctx)
	if err != nil {
		return "", err
	}
	for _, suffix := range []string{".sig", ".asc"} {
		signature, err := m.Sources.Text(ctx, url+suffix)
		if web.Refusal(err) != 0 {
			continue
		}
		if err != nil {
			return "", err
		}
		file, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer file.Close()
		check := openpgp.CheckDetachedSignature
		if strings.HasPrefix(signature, "-----BEGIN") {
			check = openpgp.CheckArmoredDetachedSignature
		}
		signer, err := check(keys, file, bytes.NewReader([]byte(signature)), nil)
		if err != nil {
			return "", &SignatureError{err}
		}
		return fingerprintOf(signer), nil
	}
	return "", errNoSignature
}

// SignatureError is the error of a signature that none of the declared signers made.
type SignatureError struct{ err error }

func (s *SignatureError) Error() string {
	return fmt.Sprintf("its signature is not valid: %v: do not use the file; if the project has new signers, declare their keys in the lock", s.err)
}

func (s *SignatureError) Unwrap() error { return s.err }
