package engine

import (
	"context"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine/embedded"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine/host"
)

// Diagnosis is which engine would be used, and what is missing.
type Diagnosis struct {
	// Engine is the one that a build would use; nil if there is none, for the reason
	// in Problem.
	Engine  *Endpoint `json:"engine"`
	Problem string    `json:"problem,omitempty"`
	// SDK and Embedded are versions of Dagger.
	SDK      string          `json:"sdk"`
	Embedded embedded.Status `json:"embedded"`
	// Requirements are those of the embedded engine.
	Requirements []host.Requirement `json:"requirements"`
	// Install is the command that installs what is missing.
	Install string `json:"install,omitempty"`
	Cache   string `json:"cache"`
}

// Diagnose looks for an engine, and for what the embedded one needs. It starts and
// installs nothing.
func (f Finder) Diagnose(ctx context.Context) (d Diagnosis, err error) {
	d = Diagnosis{SDK: SDKVersion(), Requirements: host.Requirements(), Cache: f.Manager.CacheDir}
	endpoint, err := f.Choose(ctx)
	switch {
	case ctx.Err() != nil:
		return d, context.Cause(ctx)
	case err != nil:
		d.Problem = err.Error()
	default:
		d.Engine = &endpoint
	}
	if d.Embedded, err = f.Manager.Status(); err != nil {
		return d, err
	}
	d.Install = host.InstallCommand(d.Requirements)
	return d, nil
}
