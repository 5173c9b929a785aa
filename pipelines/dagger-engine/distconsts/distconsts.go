// Package distconsts stands in for the module of the same name in dagger's own
// repository, which is not published. It holds the paths that the embedded
// engine finds its helpers at; they lie in the private /run of the engine's
// mount namespace, which package embedded lays out.
package distconsts

// Paths that the engine reads at run time.
const (
	RuncPath                         = "/run/dagger-engine/bin/runc"
	DaggerInitPath                   = "/run/dagger-engine/bin/dagger-init"
	EngineContainerBuiltinContentDir = "/run/dagger-engine/content"
	EngineCustomCACertsDir           = "/usr/local/share/ca-certificates"
)

// Names that only an engine in a container, or Dagger modules, would use. The
// code refers to them; this project uses neither.
const (
	EngineContainerName                = "dagger-engine.dev"
	EngineDefaultStateDir              = "/var/lib/dagger"
	DefaultEngineSockAddr              = "unix:///run/dagger-engine/engine.sock"
	OCIVersionAnnotation               = "org.opencontainers.image.version"
	AlpineVersion                      = "3.22"
	AlpineImage                        = "alpine:" + AlpineVersion
	BusyboxImage                       = "busybox:latest"
	GolangImage                        = "golang:alpine"
	GoSDKManifestDigestEnvName         = "DAGGER_GO_SDK_MANIFEST_DIGEST"
	PythonSDKManifestDigestEnvName     = "DAGGER_PYTHON_SDK_MANIFEST_DIGEST"
	TypescriptSDKManifestDigestEnvName = "DAGGER_TYPESCRIPT_SDK_MANIFEST_DIGEST"
)
