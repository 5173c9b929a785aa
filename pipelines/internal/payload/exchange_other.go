//go:build !linux

package payload

import "errors"

func exchange(_, _ string) error { return errors.ErrUnsupported }
