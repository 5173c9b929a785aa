package payload

import (
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// assemble puts layers onto a base.
func assemble(o Options, base base, layers []*layer) (*Image, error) {
	made := &Image{goarch: o.GoArch, variant: base.variant, base: base.ref, from: map[v1.Hash]origin{}}
	addenda, err := made.stack(o, base, layers)
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if image, err = mutate.Append(image, addenda...); err != nil {
		return nil, fmt.Errorf("putting the layers together: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config, labels := config.DeepCopy(), o.Labels.of(base)
	config.Architecture, config.OS, config.Variant, config.Created = o.GoArch, "linux", base.variant, o.Labels.time()
	config.Config = base.config
	config.Config.Labels = labels
	if o.Installer != "" {
		config.Config.Entrypoint, config.Config.Cmd = []string{"/" + Installer}, nil
	}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, err
	}
	annotated, ok := mutate.Annotations(image, labels).(v1.Image)
	if !ok {
		return nil, errors.New("the image has no annotations any more")
	}
	made.image = annotated
	made.digest, err = annotated.Digest()
	return made, err
}

// stack lists all layers, lowest first, with the history and annotations of each.
func (i *Image) stack(o Options, base base, layers []*layer) (addenda []mutate.Addendum, err error) {
	created := o.Labels.time()
	for _, l := range base.layers {
		digest, err := l.Digest()
		if err != nil {
			return nil, fmt.Errorf("reading the base %s: %w", base.ref, err)
		}
		i.from[digest] = base.origin
		addenda = append(addenda, mutate.Addendum{Layer: l, History: v1.History{Created: created, CreatedBy: "base " + base.ref}})
		if err := i.add(l, "", "base"); err != nil {
			return nil, err
		}
	}
	for _, l := range layers {
		addenda = append(addenda, mutate.Addendum{
			Layer: l, History: v1.History{Created: created, CreatedBy: "kata-pipelines " + l.title}, Annotations: layerAnnotations(l),
		})
		if err := i.add(l, l.component, l.title); err != nil {
			return nil, err
		}
	}
	return addenda, nil
}

func (i *Image) add(l v1.Layer, component, title string) error {
	digest, err := l.Digest()
	if err != nil {
		return err
	}
	size, err := l.Size()
	if err != nil {
		return err
	}
	i.layers = append(i.layers, LayerInfo{component, title, digest.String(), size})
	return nil
}
