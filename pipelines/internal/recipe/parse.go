package recipe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Parse reads a canonical recipe of this schema or an older one. A recipe of a newer
// schema, and anything else, is an error.
func Parse(canonical []byte) (Recipe, error) {
	var form struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(canonical, &form); err != nil {
		return Recipe{}, fmt.Errorf("reading a recipe: %w", err)
	}
	if form.Schema < 1 || form.Schema > Schema {
		return Recipe{}, fmt.Errorf("reading a recipe: schema %d, but this program reads 1 to %d", form.Schema, Schema)
	}
	var r Recipe
	decoder := json.NewDecoder(bytes.NewReader(canonical))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		return Recipe{}, fmt.Errorf("reading a recipe: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Recipe{}, errors.New("reading a recipe: trailing data")
	}
	return r, nil
}
