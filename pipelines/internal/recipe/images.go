package recipe

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
)

// ImageLayout is the version of the layout of images. It is raised with every change of
// the bytes that package guestimage writes.
const ImageLayout = 1

// Image is a disk image in the tarball, made of a filesystem that the steps leave at its
// path. Layout is the version of its form, ImageLayout.
type Image struct {
	Path       string `json:"path"`
	Filesystem string `json:"filesystem"`
	Variant    string `json:"variant"`
	DAX        bool   `json:"dax"`
	Measured   bool   `json:"measured"`
	Layout     int    `json:"layout"`
}

func (i Image) inputs() []string {
	values := []string{i.Filesystem, "variant:" + i.Variant, "layout:" + strconv.Itoa(i.Layout)}
	if i.DAX {
		values = append(values, "dax")
	}
	if i.Measured {
		values = append(values, "measured")
	}
	return values
}

// images adds the images, and their budgets.
func (r Resolver) images(plan *Plan, asset catalog.Asset, _ catalog.Arch) error {
	plan.Budgets = map[string]int64{}
	for _, declared := range slices.Sorted(maps.Keys(asset.Images)) {
		image := asset.Images[declared]
		path := plan.expand(declared)
		plan.Recipe.Output.Images = append(plan.Recipe.Output.Images, Image{
			Path: path, Filesystem: image.Filesystem, Variant: image.Variant, DAX: image.DAX, Measured: image.Measured, Layout: ImageLayout,
		})
		plan.Budgets[path] = int64(image.Budget)
	}
	return nil
}

// GuestPlan returns the part of the plan of a root filesystem that its checks need: its
// images with their budgets, and its root with the lock.
func (r Resolver) GuestPlan(asset catalog.Asset, arch catalog.Arch) (Plan, error) {
	var plan Plan
	for _, fill := range []func(*Plan, catalog.Asset, catalog.Arch) error{r.pins, r.root, r.images} {
		if err := fill(&plan, asset, arch); err != nil {
			return plan, fmt.Errorf("%s: %s: %w", asset.Pos, asset.Name, err)
		}
	}
	return plan, nil
}
