package fv

import (
	"fmt"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/lzma"
)

// LZMA is the GUID of a section whose content is compressed with LZMA, and has
// sections again.
var LZMA = GUID{0x98, 0x58, 0x4e, 0xee, 0x14, 0x39, 0x59, 0x42, 0x9d, 0x6e, 0xdc, 0x7b, 0xd7, 0x94, 0x03, 0xcf}

// maxUnpacked is far more than the memory that firmware unpacks itself into.
const maxUnpacked = 64 << 20

// Nested returns the volumes that are in files of the image, unpacked where they
// are compressed. The offsets are those within the section that has them.
func (i *Image) Nested() ([]Volume, error) {
	var volumes []Volume
	for _, v := range i.Volumes {
		for _, f := range v.Files {
			nested, err := volumesIn(f.Sections, true)
			if err != nil {
				return nil, fmt.Errorf("unpacking the file %s: %w", f.Name, err)
			}
			volumes = append(volumes, nested...)
		}
	}
	return volumes, nil
}

// volumesIn collects the volumes of sections; what is compressed within
// something compressed is left alone.
func volumesIn(sections []Section, unpack bool) ([]Volume, error) {
	var volumes []Volume
	for _, s := range sections {
		switch {
		case s.Type == VolumeImage:
			image, err := Parse(s.Data)
			if err != nil {
				return nil, err
			}
			volumes = append(volumes, image.Volumes...)
		case s.Type == GUIDDefined && s.GUID == LZMA && unpack:
			content, err := lzma.Decode(s.Data, maxUnpacked)
			if err != nil {
				return nil, err
			}
			inner, err := parseSections(content)
			if err != nil {
				return nil, err
			}
			nested, err := volumesIn(inner, false)
			if err != nil {
				return nil, err
			}
			volumes = append(volumes, nested...)
		}
	}
	return volumes, nil
}
