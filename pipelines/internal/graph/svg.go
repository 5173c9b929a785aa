package graph

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// SVG returns the graph as a picture, drawn by the dot program of Graphviz.
func (g *Graph) SVG(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "dot", "-Tsvg")
	cmd.Stdin = strings.NewReader(g.DOT())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	picture, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("an SVG needs the dot program of Graphviz: install it with `apt-get install graphviz`")
	}
	if err != nil {
		return "", fmt.Errorf("running dot: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return string(picture), nil
}
