package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// pack FOLDER FILE makes a tarball of a folder.
func pack(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: pack FOLDER FILE")
	}
	out := ts.MkAbs(args[1])
	ts.Check(os.MkdirAll(filepath.Dir(out), 0o755))
	_, err := archive.Pack(context.Background(), ts.MkAbs(args[0]), out, archive.Options{Level: 1, ModTime: time.Unix(recipe.SourceDateEpoch, 0)})
	ts.Check(err)
}
