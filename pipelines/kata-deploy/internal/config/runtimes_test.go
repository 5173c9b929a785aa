package config

import "testing"

func TestProxyOfShims(t *testing.T) {
	for value, want := range map[string][2]string{
		"":                               {"", ""},
		"http://p:1":                     {"http://p:1", "http://p:1"},
		"http://user:pass=@p:1/?a=b":     {"http://user:pass=@p:1/?a=b", "http://user:pass=@p:1/?a=b"},
		"qemu=http://p:1":                {"http://p:1", ""},
		"qemu=http://p:1/?a=b;clh=10.1.": {"http://p:1/?a=b", "10.1."},
	} {
		p := parser{Input: Input{Env: map[string]string{"AGENT_HTTPS_PROXY": value}}, enabled: []string{"clh", "qemu"}}
		proxies := p.proxy("AGENT_HTTPS_PROXY")
		if got := [2]string{proxies.of("qemu"), proxies.of("clh")}; got != want || len(p.problems) > 0 {
			t.Errorf("%q: got %q, want %q: %v", value, got, want, p.problems)
		}
	}
}
