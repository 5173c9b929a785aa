package verify_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/modsig/modsigtest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

func TestModules(t *testing.T) {
	const (
		folder = "lib/modules/6.18.15/kernel/"
		plain  = "\x7fELF a module"
	)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own, der, err := modsigtest.Certificate(key)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := modsigtest.Sign([]byte(plain), key, own, modsigtest.SHA512)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	otherKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, otherDER, err := modsigtest.Certificate(otherKey)
	if err != nil {
		t.Fatal(err)
	}
	other := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: otherDER})
	for name, test := range map[string]struct {
		modules     tree
		certificate []byte
		config      string
		verdict     report.Verdict
		saw         string
	}{
		"signed":           {tree{folder + "a.ko": string(signed), folder + "b.ko": string(signed)}, certificate, "CONFIG_MODULE_SIG=y\n", verify.Passed, "2 of 2 modules are signed with SHA-512 by the tree's certificate"},
		"by somebody":      {tree{folder + "a.ko": string(signed)}, nil, "CONFIG_MODULE_SIG=y\n", verify.Passed, "by whom is not checked"},
		"by somebody else": {tree{folder + "a.ko": string(signed)}, other, "CONFIG_MODULE_SIG=y\n", verify.Failed, "a.ko: the signature is not by the key"},
		"one unsigned":     {tree{folder + "a.ko": string(signed), folder + "b.ko": plain}, certificate, "CONFIG_MODULE_SIG=y\n", verify.Failed, "b.ko: the module is not signed"},
		"unsigned":         {tree{folder + "b.ko": plain}, nil, "", verify.Skipped, "1 modules, unsigned, as CONFIG_MODULE_SIG is off"},
		"compressed":       {tree{folder + "b.ko.xz": plain}, nil, "", verify.Failed, "compressed"},
		"none":             {tree{folder + "modules.dep": "x"}, nil, "", verify.Failed, "no modules in"},
		"no certificate":   {tree{folder + "a.ko": string(signed)}, []byte("hello"), "", verify.Failed, "no certificate in PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			k := kernel(t)
			k.Modules, k.Certificate = test.modules.pack(t), test.certificate
			report, err := k.Verify(t.Context(), good(t).with("config-"+version, config+test.config).pack(t), noBoot)
			if err != nil {
				t.Fatal(err)
			}
			check := find(t, report, "module signatures")
			if check.Verdict != test.verdict || !strings.Contains(check.Saw, test.saw) {
				t.Errorf("%s: %s", check.Verdict, check.Saw)
			}
		})
	}
	k := kernel(t)
	k.Modules = filepath.Join(t.TempDir(), "none")
	report, err := k.Verify(t.Context(), good(t).pack(t), noBoot)
	if err != nil {
		t.Fatal(err)
	}
	if check := find(t, report, "module signatures"); check.Verdict != verify.Failed || !strings.Contains(check.Saw, "no such file") {
		t.Errorf("%s: %s", check.Verdict, check.Saw)
	}
}
