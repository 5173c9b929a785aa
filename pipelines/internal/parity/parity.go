// Package parity compares our guest kernels with those that a checkout of Kata Containers
// would build: which options its fragments request that ours lack, or set to another
// value, and why.
//
// The one idea: both the way Kata chooses fragments and the reasons for differences are
// data, in kernel-configs/parity.yaml, and the data must be exact. A difference without a
// reason is an error, and so is a reason without a difference.
//
// The comparison has one direction. Options that only our kernels have are not listed:
// their fragments give the reasons. Nothing in Kata's checkout is run.
package parity

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/markdown"
)

// Kernel is one of our guest kernels on one architecture.
type Kernel struct {
	Name string `json:"kernel"`
	// Arch is its architecture as ARCH in a Linux build.
	Arch string `json:"arch"`
	// Config says where our options are from.
	Config string `json:"config"`
	// Side are our options: of a final configuration, or those that we request.
	Side kconfig.Side `json:"-"`
}

// Row is an option that Kata requests and our kernel lacks or sets to another value.
type Row struct {
	Option string `json:"option"`
	// Kata is the value that Kata requests, at the place Where in its fragments.
	Kata  string `json:"kata"`
	Where string `json:"where"`
	// Ours is our value, "" for none.
	Ours string `json:"ours"`
	// Reason is empty for an unexplained difference.
	Reason string `json:"reason"`
}

// Comparison is the result for one kernel.
type Comparison struct {
	Kernel
	// Requested is the number of options that Kata requests; 0 if this version of Kata does
	// not build the kernel.
	Requested int   `json:"requested"`
	Rows      []Row `json:"rows"`
	// Selected is the number of options that our fragments do not request because other
	// options select them. It is 0 for a final configuration, which shows them.
	Selected int `json:"selected"`
}

func (c Comparison) unexplained() (n int) {
	for _, row := range c.Rows {
		if row.Reason == "" {
			n++
		}
	}
	return n
}

// Summary describes the comparison in a line.
func (c Comparison) Summary() string {
	if c.Requested == 0 {
		return fmt.Sprintf("%s on %s: this version of Kata does not build it", c.Name, c.Arch)
	}
	same := c.Requested - len(c.Rows) - c.Selected
	text := fmt.Sprintf("%s on %s, %s: Kata requests %d options, %d are the same", c.Name, c.Arch, c.Config, c.Requested, same)
	if c.Selected > 0 {
		text += fmt.Sprintf(", %d are selected by others", c.Selected)
	}
	return text + fmt.Sprintf(", %d differ, %d of them without a reason", len(c.Rows), c.unexplained())
}

// Compare compares kernels with what Kata requests for them. The error, which comes with
// the comparisons, says how many differences are unexplained, and has a line for each
// reason that does not apply.
func (r *Rules) Compare(kata *Kata, kernels []Kernel) ([]Comparison, error) {
	all := []Comparison{}
	problems := []error{r.unused(kata)}
	unexplained := 0
	for _, kernel := range kernels {
		requested, err := r.requested(kata, kernel.Name, kernel.Arch)
		if err != nil {
			return nil, err
		}
		c, err := r.compare(kata, kernel, requested)
		problems = append(problems, err)
		all, unexplained = append(all, c), unexplained+c.unexplained()
	}
	if unexplained > 0 {
		problems = append(problems, fmt.Errorf("%d differences have no reason: request the options in a fragment, or give the reason in %s", unexplained, File))
	}
	return all, errors.Join(problems...)
}

func (r *Rules) compare(kata *Kata, kernel Kernel, requested []kconfig.Option) (Comparison, error) {
	c := Comparison{Kernel: kernel, Requested: len(requested), Rows: []Row{}}
	different := map[string]bool{}
	for _, d := range kconfig.Compare(kconfig.Side{Options: requested}, kernel.Side) {
		if d.A == nil || d.B == nil && d.A.Value == "n" {
			continue // Only ours, or off by default: kernels start from allnoconfig.
		}
		different[d.Name] = true
		reason := r.reason(kata, kernel.Name, kernel.Arch, d.Name)
		if reason != nil && reason.Selected && !kernel.Side.Final {
			c.Selected++
			continue
		}
		row := Row{Option: d.Name, Kata: d.A.Value, Where: d.A.Pos()}
		if d.B != nil {
			row.Ours = d.B.Value
		}
		if reason != nil && !reason.Selected {
			row.Reason = reason.Reason
		}
		c.Rows = append(c.Rows, row)
	}
	var stale []error
	for _, option := range requested {
		reason := r.reason(kata, kernel.Name, kernel.Arch, option.Name)
		if reason != nil && !reason.Selected && !different[option.Name] {
			stale = append(stale, fmt.Errorf("%s:%d: %s is as Kata requests it in %s on %s: remove it from the reason, or narrow its kernels or arches",
				File, reason.Line, option.Name, kernel.Name, kernel.Arch))
		}
	}
	return c, errors.Join(stale...)
}

// reason returns the reason for a difference of a kernel, or nil.
func (r *Rules) reason(kata *Kata, kernel, arch, option string) *Reason {
	i := slices.IndexFunc(r.Reasons, func(reason Reason) bool {
		return reason.covers(kernel, arch, kata.ConfigVersion) && slices.Contains(reason.Options, option)
	})
	if i < 0 {
		return nil
	}
	return &r.Reasons[i]
}

// unused returns an error with a line for each option of a reason that Kata requests for
// none of the kernels that the reason is for.
func (r *Rules) unused(kata *Kata) error {
	type place struct {
		reason *Reason
		option string
	}
	used := map[place]bool{}
	for _, build := range r.Kernels {
		for _, arch := range build.Arches {
			requested, err := r.requested(kata, build.Kernel, arch)
			if err != nil {
				return err
			}
			for _, option := range requested {
				used[place{r.reason(kata, build.Kernel, arch, option.Name), option.Name}] = true
			}
		}
	}
	var unused []error
	for i := range r.Reasons {
		reason := &r.Reasons[i]
		for _, option := range reason.Options {
			if reason.holds(kata.ConfigVersion) && !used[place{reason, option}] {
				unused = append(unused, fmt.Errorf("%s:%d: Kata, whose configuration is %d, does not request %s for these kernels: remove it from the reason, or set since or until",
					File, reason.Line, kata.ConfigVersion, option))
			}
		}
	}
	return errors.Join(unused...)
}

// Markdown returns comparisons as tables.
func Markdown(all []Comparison) string {
	var text strings.Builder
	for _, c := range all {
		fmt.Fprintf(&text, "### %s\n\n", markdown.Plain(c.Summary()))
		if len(c.Rows) == 0 {
			continue
		}
		markdown.Table(&text, "option", "Kata", "ours", "in Kata", "reason")
		for _, row := range c.Rows {
			markdown.Row(&text, markdown.Code(row.Option), markdown.Code(row.Kata), markdown.Code(row.Ours), markdown.Code(row.Where), markdown.Plain(row.Reason))
		}
		text.WriteString("\n")
	}
	return text.String()
}
