package catalog

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Image declares a disk image that a guest boots from.
type Image struct {
	// Filesystem is that of the root partition, one of Filesystems.
	Filesystem string `yaml:"filesystem"`
	// Variant is in the name of the link to the image, and in that of the file with the
	// root hash; "" for the main image.
	Variant string `yaml:"variant"`
	// DAX gives the image the header that a guest needs to use it as an NVDIMM.
	DAX bool `yaml:"dax"`
	// Measured gives it a partition with the hash tree of dm-verity.
	Measured bool `yaml:"measured"`
	// Budget is the largest size of the filesystem, 0 for any. It is not in the key.
	Budget Bytes `yaml:"budget"`
}

// Filesystems are the values of Image.Filesystem.
var Filesystems = []string{"ext4", "erofs"}

// images checks the images of an asset.
func (c checker) images(a Asset) {
	files := map[string]string{}
	for _, file := range slices.Sorted(maps.Keys(a.Images)) {
		at, image := c.at(file), a.Images[file]
		if !fs.ValidPath(file) || path.Ext(file) != ".image" || !strings.Contains(file, "/") {
			at.Problem("image %q: want a path in the tarball that ends with .image", file)
		}
		at.variables(file, a.Pins)
		if !slices.Contains(Filesystems, image.Filesystem) {
			at.Problem("filesystem is %q: want one of %s", image.Filesystem, strings.Join(Filesystems, ", "))
		}
		if image.Variant != "" {
			at.at("variant").name("variant", image.Variant, plainName)
		}
		if image.Measured && image.Variant == "" {
			at.Problem("%s is measured: name its variant, which is in the name of the file with its root hash", file)
		}
		if other, found := files[image.Variant]; found {
			at.Problem("images %s and %s have the same variant: a link can name one of them only", other, file)
		}
		files[image.Variant] = file
	}
}
