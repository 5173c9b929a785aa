package kernel

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/modsig/modsigtest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

func TestModules(t *testing.T) {
	const (
		folder = "lib/modules/6.18.15/kernel/"
		plain  = "\x7fELF a module"
	)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	own, der, err := modsigtest.Certificate(key)
	require.NoError(t, err)
	signed, err := modsigtest.Sign([]byte(plain), key, own, modsigtest.SHA512)
	require.NoError(t, err)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	otherKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	_, otherDER, err := modsigtest.Certificate(otherKey)
	require.NoError(t, err)
	other := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: otherDER})
	for name, test := range map[string]struct {
		modules     tree
		certificate []byte
		config      string
		verdict     report.Verdict
		saw         string
	}{
		"signed":           {tree{folder + "a.ko": string(signed), folder + "b.ko": string(signed)}, certificate, "CONFIG_MODULE_SIG=y\n", report.Passed, "2 of 2 modules are signed with SHA-512 by the tree's certificate"},
		"by somebody":      {tree{folder + "a.ko": string(signed)}, nil, "CONFIG_MODULE_SIG=y\n", report.Passed, "the signer is not checked"},
		"by somebody else": {tree{folder + "a.ko": string(signed)}, other, "CONFIG_MODULE_SIG=y\n", report.Failed, "a.ko: the signature is not by the key"},
		"one unsigned":     {tree{folder + "a.ko": string(signed), folder + "b.ko": plain}, certificate, "CONFIG_MODULE_SIG=y\n", report.Failed, "b.ko: the module is not signed"},
		"unsigned":         {tree{folder + "b.ko": plain}, nil, "", report.Skipped, "1 modules, unsigned, as CONFIG_MODULE_SIG is off"},
		"compressed":       {tree{folder + "b.ko.xz": plain}, nil, "", report.Failed, "compressed"},
		"not ELF":          {tree{folder + "b.ko": "text"}, nil, "", report.Failed, "lib/modules/6.18.15/kernel/b.ko is not an ELF file"},
		"none":             {tree{folder + "modules.dep": "x"}, nil, "", report.Failed, "no modules in"},
		"no certificate":   {tree{folder + "a.ko": string(signed)}, []byte("hello"), "", report.Failed, "no certificate in PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			files := with(good(t), "config-"+version, config+test.config)
			check := verifytest.Find(t, lookAtModules(t, test.certificate, files, test.modules.Pack(t)), "module signatures")
			if check.Verdict != test.verdict || !strings.Contains(check.Saw, test.saw) {
				t.Errorf("%s: %s", check.Verdict, check.Saw)
			}
		})
	}
	r := lookAtModules(t, nil, good(t), filepath.Join(t.TempDir(), "none"))
	if check := verifytest.Find(t, r, "module signatures"); check.Verdict != report.Failed || !strings.Contains(check.Saw, "no such file") {
		t.Errorf("%s: %s", check.Verdict, check.Saw)
	}
	r = lookAtModules(t, nil, good(t), "")
	if check := verifytest.Find(t, r, "module signatures"); check.Verdict != report.Skipped {
		t.Errorf("%s: %s", check.Verdict, check.Saw)
	}
}

// lookAtModules verifies a kernel with modules in a tarball of their own.
func lookAtModules(t *testing.T, certificate []byte, files tree, modules string) *report.Report {
	t.Helper()
	k := debugKernel(t)
	k.Modules, k.Certificate = true, certificate
	artifact := verify.Artifact{Tarball: files.Pack(t), Outputs: map[string]string{ModulesOutput: modules}}
	return verifytest.Run(t, k, artifact, verifytest.NoBoot)
}
