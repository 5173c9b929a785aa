package config

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// customList names the custom runtimes in their folder, a line each:
// HANDLER:SHIM[:SNAPSHOTTER[:PULLTYPE]].
const customList = "custom-runtimes.list"

var validHandler = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// guestPull is the pull type that leaves the pull to the guest, and defaultPull the one
// that does not.
const (
	guestPull   = "guest-pull"
	defaultPull = "default"
)

// runtimes reads the shims and the custom runtimes, with their settings.
func (p *parser) runtimes(c *Config) {
	p.enabled = strings.Fields(p.env("SHIMS"))
	if len(p.enabled) == 0 {
		p.enabled = p.Shims
	}
	for i, name := range p.enabled {
		p.require(slices.Contains(p.Shims, name), p.variable("SHIMS"), "names the shim %q, which this payload does not have for %s: it has %s",
			name, p.Arch, strings.Join(p.Shims, ", "))
		p.require(!slices.Contains(p.enabled[:i], name), p.variable("SHIMS"), "names the shim %q twice", name)
	}
	settings := p.settings(c)
	for _, name := range p.enabled {
		c.Runtimes = append(c.Runtimes, Runtime{Handler: withSuffix("kata-"+name, c.Suffix), Shim: name, Settings: settings.of(name)})
	}
	if p.flag("CUSTOM_RUNTIMES_ENABLED") {
		p.custom(c, settings)
	}
	p.require(len(c.Runtimes) > 0, p.variable("SHIMS"), "is empty, and so is the payload: name at least one shim")
}

// shim checks that a variable names a shim that is set up.
func (p *parser) shim(variable, name string) {
	p.require(slices.Contains(p.enabled, name), p.variable(variable), "names the shim %q, which is not among those to install: %s",
		name, strings.Join(p.enabled, ", "))
}

// perShim is the value of a variable for each shim; that for "" is every shim's.
type perShim map[string]string

func (v perShim) of(shim string) string {
	if value, found := v[shim]; found {
		return value
	}
	return v[""]
}

// allSettings are the settings of all shims.
type allSettings struct {
	annotations             map[string][]string
	snapshotter, pull       perShim
	httpsProxy, noProxy     perShim
	forceGuestPull          []string
	hostName, hostNameShare string
}

func (p *parser) settings(c *Config) allSettings {
	s := allSettings{
		annotations: p.annotations(),
		snapshotter: p.mapping("SNAPSHOTTER_HANDLER_MAPPING"), pull: p.mapping("PULL_TYPE_MAPPING"),
		httpsProxy: p.proxy("AGENT_HTTPS_PROXY"), noProxy: p.proxy("AGENT_NO_PROXY"),
		forceGuestPull: list(p.env("EXPERIMENTAL_FORCE_GUEST_PULL"), ","),
		hostName:       c.HostName(Nydus), hostNameShare: c.HostName(NydusHostShare),
	}
	for shim, kind := range s.pull {
		p.require(kind == guestPull || kind == defaultPull, p.variable("PULL_TYPE_MAPPING"), "has the pull type %q for %s: want %s or %s", kind, shim, guestPull, defaultPull)
	}
	for _, shim := range s.forceGuestPull {
		p.shim("EXPERIMENTAL_FORCE_GUEST_PULL", shim)
	}
	return s
}

func (s allSettings) of(shim string) Settings {
	return Settings{
		Annotations: sorted(s.annotations[""], s.annotations[shim]), Snapshotter: s.onHost(s.snapshotter[shim]),
		HTTPSProxy: s.httpsProxy.of(shim), NoProxy: s.noProxy.of(shim),
		GuestPull: s.pull[shim] == guestPull, ForceGuestPull: slices.Contains(s.forceGuestPull, shim),
	}
}

// onHost returns the name that the host knows a snapshotter of a mapping by.
func (s allSettings) onHost(snapshotter string) string {
	switch snapshotter {
	case Nydus:
		return s.hostName
	case NydusHostShare:
		return s.hostNameShare
	}
	return snapshotter
}

// annotations reads words, "NAME" for every shim and "SHIM:NAME,NAME" for one.
func (p *parser) annotations() map[string][]string {
	const variable = "ALLOWED_HYPERVISOR_ANNOTATIONS"
	annotations := map[string][]string{}
	for _, word := range strings.Fields(p.env(variable)) {
		shim, names, found := strings.Cut(word, ":")
		if !found {
			shim, names = "", word
		} else if shim != "" {
			p.shim(variable, shim)
		}
		annotations[shim] = append(annotations[shim], list(names, ",")...)
	}
	return annotations
}

// mapping reads "SHIM:VALUE,SHIM:VALUE".
func (p *parser) mapping(variable string) perShim {
	mapping := perShim{}
	for _, entry := range list(p.env(variable), ",") {
		shim, value, found := strings.Cut(entry, ":")
		if !found || shim == "" || value == "" || strings.Contains(value, ":") {
			p.require(false, p.variable(variable), "has the entry %q: want SHIM:VALUE,SHIM:VALUE", entry)
			continue
		}
		_, twice := mapping[shim]
		p.require(!twice, p.variable(variable), "has two entries for %s: keep one", shim)
		p.shim(variable, shim)
		mapping[shim] = value
	}
	return mapping
}

// proxy reads "VALUE" for every shim, or "SHIM=VALUE;SHIM=VALUE".
func (p *parser) proxy(variable string) perShim {
	value := strings.TrimSpace(p.Env[variable])
	p.require(!strings.ContainsAny(value, "\"\\\n") && !strings.Contains(value, " "), variable, "has a space, a quote or a backslash, which the guest's command line cannot hold")
	if value == "" {
		return nil
	}
	// A URL may have a "=" too: in a password, or in what it asks for.
	if before, _, found := strings.Cut(value, "="); !found || strings.ContainsAny(before, ":/.,") {
		return perShim{"": value}
	}
	proxies := perShim{}
	for _, entry := range list(value, ";") {
		shim, proxy, _ := strings.Cut(entry, "=")
		if shim = strings.TrimSpace(shim); !slices.Contains(p.enabled, shim) {
			p.require(slices.Contains(p.Shims, shim), variable, "names the shim %q, which this payload does not have for %s: it has %s",
				shim, p.Arch, strings.Join(p.Shims, ", "))
		}
		proxies[shim] = proxy
	}
	return proxies
}

// custom reads the custom runtimes.
func (p *parser) custom(c *Config, settings allSettings) {
	const variable = "CUSTOM_RUNTIMES_ENABLED"
	lines, err := fs.ReadFile(p.Custom, customList)
	if err != nil {
		p.problems = append(p.problems, fmt.Errorf("%s is true, but there is no list of runtimes: %w", variable, err))
		return
	}
	before := len(c.Runtimes)
	for _, line := range list(string(lines), "\n") {
		fields := append(strings.Split(line, ":"), "", "", "")
		r := Runtime{Handler: strings.TrimSpace(fields[0]), Shim: strings.TrimSpace(fields[1]), Custom: true}
		where := fmt.Sprintf("%s: the runtime %q", customList, r.Handler)
		p.require(validHandler.MatchString(r.Handler), where, "has no valid name: want lower-case letters, digits, dots and dashes")
		p.require(!slices.ContainsFunc(c.Runtimes, func(other Runtime) bool { return other.Handler == r.Handler }), where, "has the name of another: choose its own")
		p.require(slices.Contains(p.Shims, r.Shim), where, "starts from the shim %q, which this payload does not have for %s: it has %s",
			r.Shim, p.Arch, strings.Join(p.Shims, ", "))
		r.Settings = settings.of(r.Shim)
		r.Snapshotter = settings.onHost(strings.TrimSpace(fields[2]))
		r.GuestPull = strings.TrimSpace(fields[3]) == guestPull
		if r.Overrides, err = fs.ReadFile(p.Custom, "dropin-"+r.Handler+".toml"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.problems = append(p.problems, err)
		}
		c.Runtimes = append(c.Runtimes, r)
	}
	p.require(len(c.Runtimes) > before, variable, "is true, but %s names no runtime", customList)
}

// sorted returns all names, each once.
func sorted(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.Compact(all)
}
