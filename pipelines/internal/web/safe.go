package web

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// allowed refuses a request that would leak credentials or lack TLS.
func (t *transport) allowed(request *http.Request) error {
	secret := hasSecret(request)
	if request.URL.Scheme != "https" && !Loopback(request.URL.Host) {
		if secret {
			return errors.New("refusing to send credentials without TLS")
		}
		if !t.Plain {
			return errors.New("refusing to connect without TLS")
		}
	}
	if secret && t.Host != "" && !sameSite(request.URL.Host, t.Host) {
		return fmt.Errorf("refusing to send it the credentials of %s", t.Host)
	}
	return nil
}

// hasSecret reports whether a request carries credentials: in its header or URL, or in the
// form by which OAuth 2 requests a token.
func hasSecret(request *http.Request) bool {
	return request.Header.Get("Authorization") != "" || request.URL.User != nil ||
		request.Method == http.MethodPost && strings.HasPrefix(request.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
}

// Loopback reports whether a host, with or without a port, is this machine.
func Loopback(host string) bool {
	name := hostname(host)
	ip := net.ParseIP(name)
	return name == "localhost" || ip != nil && ip.IsLoopback()
}

func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

// sameSite reports whether two hosts have the same owner, as registry.example.org and
// auth.example.org do.
func sameSite(a, b string) bool {
	a, b = hostname(a), hostname(b)
	if a == b || Loopback(a) && Loopback(b) {
		return true
	}
	site, err := publicsuffix.EffectiveTLDPlusOne(a)
	other, otherErr := publicsuffix.EffectiveTLDPlusOne(b)
	return err == nil && otherErr == nil && site == other && net.ParseIP(a) == nil && net.ParseIP(b) == nil
}

// Shown returns a URL without user, password and query, for messages.
func Shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "an address that cannot be parsed"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

var (
	// named is the prefix of errors of net/http and of clients of registries.
	named = regexp.MustCompile(`\b(?i:get|head|post|put|patch|delete) "(?:[^"\\]|\\.)*": `)
	user  = regexp.MustCompile(`://[^\s"/@]*@`)
	query = regexp.MustCompile(`(://[^\s"?]*)\?[^\s"]*`)
)

// Reason returns the text of an error without the URLs of requests, and without users,
// passwords and queries in other URLs: servers redirect to signed URLs.
func Reason(err error) string {
	text := named.ReplaceAllString(err.Error(), "")
	return query.ReplaceAllString(user.ReplaceAllString(text, "://"), "$1")
}

// Clean returns an error with the text of Reason that wraps the original.
func Clean(err error) error {
	if err == nil {
		return nil
	}
	return &cleaned{err}
}

type cleaned struct{ err error }

func (c *cleaned) Error() string { return Reason(c.err) }
func (c *cleaned) Unwrap() error { return c.err }
