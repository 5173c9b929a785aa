package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"dagger.io/dagger"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
)

// pullTimeout bounds the attempt to get a builder's image from a registry
// before its base is bootstrapped instead.
const pullTimeout = 2 * time.Minute

// Builder is a builder that an earlier build has made: a base with the packages
// of the recipe installed.
type Builder struct {
	// Path is an OCI archive, Digest that of its manifest, "sha256:<hex>".
	Path, Digest string
	// Base is what it was made of, as in Record.
	Base string
}

// builder returns the container that the steps run in, and fills in the record.
func (s *Session) builder(ctx context.Context, job Job, record *Record) (container *dagger.Container, err error) {
	err = job.stage("builder", func() (detail string, err error) {
		if job.Builder.Path != "" {
			container, err = s.kept(ctx, job, record)
		} else {
			container, err = s.made(ctx, job, record)
		}
		if err == nil {
			record.Packages, err = s.packages(ctx, container)
		}
		return fmt.Sprintf("%d packages on %s", len(record.Packages), record.Base), err
	})
	return container, err
}

// kept returns the container of a kept builder. The network has no part in it.
func (s *Session) kept(ctx context.Context, job Job, record *Record) (*dagger.Container, error) {
	container, err := s.imported(ctx, job, job.Builder.Path)
	if err != nil {
		return nil, fmt.Errorf("importing the kept builder %s: %w", job.Builder.Digest, err)
	}
	record.Base, record.Builder = job.Builder.Base, job.Builder.Digest
	return container, nil
}

// made makes a builder and has it kept.
func (s *Session) made(ctx context.Context, job Job, record *Record) (*dagger.Container, error) {
	container, base, err := s.base(ctx, job)
	if err != nil {
		return nil, err
	}
	record.Base = base
	if container, err = s.install(ctx, container, job); err != nil || job.Keep == nil {
		return container, err
	}
	record.Builder, err = job.Keep(ctx, base, func(ctx context.Context, path string) error {
		// With zstd a compiler's 170 MB take 5 s to export and 2 s to import on
		// two cores; without, they are 600 MB, and take 7 s and 10 s.
		_, err := container.Export(ctx, path, dagger.ContainerExportOpts{
			ForcedCompression: dagger.ImageLayerCompressionZstd, MediaTypes: dagger.ImageMediaTypesOcimediaTypes,
		})
		if err != nil {
			return fmt.Errorf("exporting the builder: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("keeping the builder: %w", err)
	}
	return container, nil
}

func (j Job) platform() dagger.ContainerOpts {
	return dagger.ContainerOpts{Platform: dagger.Platform("linux/" + catalog.Arch(j.Machine).GoArch())}
}

func (s *Session) imported(ctx context.Context, job Job, archive string) (*dagger.Container, error) {
	return s.client.Container(job.platform()).Import(s.client.Host().File(archive)).Sync(ctx)
}

// base returns the container that the recipe's image names, or the bootstrapped
// equivalent where no registry answers.
func (s *Session) base(ctx context.Context, job Job) (*dagger.Container, string, error) {
	pull, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	container, pullErr := s.client.Container(job.platform()).From(job.Declared.Image).Sync(pull)
	if pullErr == nil {
		return container, job.Declared.Image, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	fmt.Fprintf(job.Log, "no registry gave the builder's image: %v\n", pullErr)
	job.Note("no registry answers for the builder's image: bootstrapping Debian " + job.Declared.Suite + " instead")
	archive, digest, err := job.Base(ctx)
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("pulling %s: %w", job.Declared.Image, pullErr), err)
	}
	if container, err = s.imported(ctx, job, archive); err != nil {
		return nil, "", fmt.Errorf("importing the builder base: %w", err)
	}
	return container, "bootstrap:" + digest, nil
}

// install adds the builder's packages.
func (s *Session) install(ctx context.Context, container *dagger.Container, job Job) (*dagger.Container, error) {
	const script = `set -eu
apt-get -o Acquire::Retries=3 update
apt-get -o Acquire::Retries=3 install --yes --no-install-recommends -- "$@"
rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb`
	container = container.
		WithEnvVariable("DEBIAN_FRONTEND", "noninteractive").
		WithEnvVariable("KATA_BUILDER_EPOCH", strconv.Itoa(job.Declared.Epoch))
	container, err := s.exec(ctx, container, job.Log, append([]string{"sh", "-c", script, "install"}, job.Declared.Packages...)...)
	if err != nil {
		return nil, fmt.Errorf("installing %s: %w", strings.Join(job.Declared.Packages, " "), err)
	}
	return container.WithoutEnvVariable("DEBIAN_FRONTEND").WithoutEnvVariable("KATA_BUILDER_EPOCH"), nil
}

// packages returns the versions of all packages of a builder, sorted.
func (s *Session) packages(ctx context.Context, container *dagger.Container) ([]string, error) {
	list, err := container.WithExec([]string{"dpkg-query", "--show", "--showformat", "${Package}=${Version}\n"}).Stdout(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the installed packages: %w", err)
	}
	packages := strings.Fields(list)
	slices.Sort(packages)
	return packages, nil
}
