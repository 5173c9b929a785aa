// Package yamlerr rewrites the errors of gopkg.in/yaml.v3, which know lines but
// no file, and fields by the names of Go types.
package yamlerr

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

var (
	line  = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	field = regexp.MustCompile(`^field (\S+) not found in type .+$`)
)

// In turns an error of a decoder, `line 3: ...`, into `file:3: ...`, one error
// for each problem. The fields are those that the file may have, for hints.
func In(file string, err error, fields []string) error {
	messages := []string{strings.TrimPrefix(err.Error(), "yaml: ")}
	var typeError *yaml.TypeError
	if errors.As(err, &typeError) {
		messages = typeError.Errors
	}
	problems := make([]error, len(messages))
	for i, message := range messages {
		where := file
		if m := line.FindStringSubmatch(message); m != nil {
			where, message = file+":"+m[1], m[2]
		}
		if m := field.FindStringSubmatch(message); m != nil {
			message = fmt.Sprintf("unknown field %q%s", m[1], nearest.Hint(m[1], fields))
		}
		problems[i] = fmt.Errorf("%s: %s", where, message)
	}
	return errors.Join(problems...)
}
