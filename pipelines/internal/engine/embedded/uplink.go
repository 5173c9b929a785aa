//go:build linux

package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

const (
	// linkPrefix is the prefix of the host's end of every engine's link.
	linkPrefix = "kata-"
	// innerLink is the other end of the veth pair, in the engine's namespace.
	innerLink = "uplink0"
)

// uplink connects the engine to the network: a veth pair with two addresses, which
// the host masquerades.
type uplink struct {
	Host  netip.Prefix `json:"host"`
	Inner netip.Prefix `json:"inner"`
	// Link is the host's end of the veth pair, Table the nft table; engines of
	// several cache directories can run at the same time.
	Link  string `json:"link"`
	Table string `json:"table"`
}

// nameUplink returns an uplink that has names, but no network yet.
func nameUplink(cacheDir string) uplink {
	sum := sha256.Sum256([]byte(cacheDir))
	id := hex.EncodeToString(sum[:4])
	return uplink{Link: linkPrefix + id, Table: "kata_pipelines_" + id}
}

// chooseUplink returns an uplink in a network that the host does not use.
func chooseUplink(cacheDir string) (uplink, error) {
	var used []netip.Prefix
	routes, err := run("", "ip", "-4", "-json", "route", "show", "table", "all")
	if err == nil {
		used, err = parseRoutes(routes)
	}
	if err != nil {
		return uplink{}, fmt.Errorf("reading the host's routes: %w", err)
	}
	return nameUplink(cacheDir).within(used)
}

// within picks the first of a few small networks that overlaps no prefix in use.
// Dagger's containers have 10.87.0.0/16.
func (u uplink) within(used []netip.Prefix) (uplink, error) {
	for i := range 64 {
		network := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 86, byte(255 - i), 0}), 30)
		if !slices.ContainsFunc(used, network.Overlaps) {
			address := network.Addr().Next()
			u.Host, u.Inner = netip.PrefixFrom(address, 30), netip.PrefixFrom(address.Next(), 30)
			return u, nil
		}
	}
	return uplink{}, errors.New("no free network for the engine in 10.86.192.0/18: the host routes all of it")
}

// parseRoutes returns the destinations that `ip -json route` prints, without the
// default.
func parseRoutes(text string) ([]netip.Prefix, error) {
	var routes []struct{ Dst string }
	if err := json.Unmarshal([]byte(text), &routes); err != nil {
		return nil, err
	}
	var prefixes []netip.Prefix
	for _, route := range routes {
		if !strings.Contains(route.Dst, "/") {
			route.Dst += "/32"
		}
		if prefix, err := netip.ParsePrefix(route.Dst); err == nil && prefix.Bits() > 0 {
			prefixes = append(prefixes, prefix.Masked())
		}
	}
	return prefixes, nil
}

// add connects the network namespace of a process to the host.
func (u uplink) add(pid int) error {
	rules := fmt.Sprintf(`table ip %[1]s
delete table ip %[1]s
table ip %[1]s {
	chain postrouting {
		type nat hook postrouting priority srcnat;
		ip saddr %[2]s oifname != "%[3]s" masquerade
	}
}
`, u.Table, u.Host.Masked(), u.Link)
	if err := ip(
		fmt.Sprintf("link add %s type veth peer name %s netns %d", u.Link, innerLink, pid),
		fmt.Sprintf("addr add %s dev %s", u.Host, u.Link),
		fmt.Sprintf("link set %s up", u.Link),
	); err != nil {
		return err
	}
	return nft(rules)
}

// connect sets up the inner end; it runs in the engine's namespace.
func (u uplink) connect() error {
	return ip("link set lo up",
		fmt.Sprintf("addr add %s dev %s", u.Inner, innerLink),
		fmt.Sprintf("link set %s up", innerLink),
		fmt.Sprintf("route add default via %s", u.Host.Addr()))
}

// remove takes down what is left of add's setup.
func (u uplink) remove() error {
	if err := nft(fmt.Sprintf("table ip %[1]s\ndelete table ip %[1]s\n", u.Table)); err != nil {
		return err
	}
	// The kernel removes a veth pair itself, some time after the namespace of
	// one end is gone.
	if err := ip("link del " + u.Link); err != nil && files.Exists("/sys/class/net/"+u.Link) {
		return err
	}
	return nil
}

// ip runs commands of ip, up to the first that fails.
func ip(commands ...string) error {
	_, err := run(strings.Join(commands, "\n")+"\n", "ip", "-batch", "-")
	return err
}

func nft(rules string) error {
	_, err := run(rules, "nft", "-f", "-")
	return err
}

// run runs a system program and returns its output. It takes an instant, so no
// context cancels it: the cleanup after a cancellation needs it too.
func run(stdin, program string, args ...string) (string, error) {
	cmd := command.New(context.Background(), program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	return command.Output(context.Background(), cmd)
}
