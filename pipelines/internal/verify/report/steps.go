package report

import "fmt"

// failure is the error that a check made of steps ends with.
type failure struct{ error }

// Steps runs a check that is a long line of steps, each of which needs the one before: it
// uses Must, Try and Want, which end it with an error. Any other panic is a bug of this
// program, and ends it.
func Steps(check func() string) (saw string, err error) {
	defer func() {
		caught := recover()
		if ended, ours := caught.(failure); ours {
			err = ended.error
		} else if caught != nil {
			panic(caught)
		}
	}()
	return check(), nil
}

// Must ends a check with an error, if there is one.
func Must(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// Try returns a value, or ends a check with an error.
func Try[T any](value T, err error) T {
	Must(err)
	return value
}

// Want ends a check with an error unless a condition is met.
func Want(met bool, format string, args ...any) {
	if !met {
		Must(fmt.Errorf(format, args...))
	}
}
