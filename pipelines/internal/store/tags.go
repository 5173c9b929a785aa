package store

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// Tags have at most 128 characters; what is shortened or changed ends in a part
// of its hash, so that two names never share a tag by chance.
const (
	longestTag = 128
	hashPart   = 8
)

var notInTags = regexp.MustCompile(`[^a-zA-Z0-9._-]+`)

// MovingTag returns the tag <prefix>-<name>-<arch>, valid whatever the name: a
// branch feature/x becomes latest-feature-x-<hash>-x86_64.
func MovingTag(prefix, name, arch string) string {
	clean := notInTags.ReplaceAllString(name, "-")
	room := longestTag - len(prefix) - len(arch) - 2
	if clean == name && clean != "" && len(clean) <= room {
		return prefix + "-" + name + "-" + arch
	}
	sum := sha256.Sum256([]byte(name))
	clean = strings.Trim(clean[:min(len(clean), room-hashPart-1)], "-")
	return strings.TrimSuffix(prefix+"-"+clean, "-") + "-" + hex.EncodeToString(sum[:])[:hashPart] + "-" + arch
}
