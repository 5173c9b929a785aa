// Package node speaks to the Kubernetes API about one node: what it reports, its label, its
// events, and the DaemonSets and RuntimeClasses that concern an installation.
//
// It uses the dynamic client: a handful of fields of five resources need none of the typed
// clients, which would make the program several times as large.
package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// Label is the label of nodes that run Kata.
const Label = "katacontainers.io/kata-runtime"

const (
	// requestLimit is how long one request may take, patience how long requests are tried
	// again, and pause the time between two.
	requestLimit = 15 * time.Second
	patience     = 90 * time.Second
	pause        = 2 * time.Second
	// page is how many objects a list returns at once.
	page = 200
)

var (
	nodes          = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	events         = schema.GroupVersionResource{Version: "v1", Resource: "events"}
	daemonSets     = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}
	runtimeClasses = schema.GroupVersionResource{Group: "node.k8s.io", Version: "v1", Resource: "runtimeclasses"}
)

// Client speaks about a node.
type Client struct {
	api  dynamic.Interface
	node string
	// patience is how long requests are tried again.
	patience time.Duration
}

// InCluster returns the client of a pod.
func InCluster(node string) (*Client, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("connecting to the Kubernetes API: %w: run in a pod with a service account", err)
	}
	return New(config, node, patience)
}

// New returns a client that tries requests again for some time.
func New(config *rest.Config, node string, patience time.Duration) (*Client, error) {
	config.Timeout, config.UserAgent = requestLimit, "kata-deploy"
	api, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the Kubernetes API: %w", err)
	}
	return &Client{api, node, patience}, nil
}

// Facts are what a node says about itself.
type Facts struct {
	// Runtime is "containerd://2.2.2".
	Runtime string
	Labels  map[string]string
	UID     types.UID
	Ready   bool
}

// Facts returns what the node says about itself.
func (c *Client) Facts(ctx context.Context) (Facts, error) {
	var f Facts
	err := c.again(ctx, "reading the node", func(ctx context.Context) error {
		node, err := c.api.Resource(nodes).Get(ctx, c.node, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("%w: NODE_NAME must be the name of a node of this cluster", err)
		}
		if err != nil {
			return err
		}
		f = factsOf(node)
		return nil
	})
	return f, err
}

func factsOf(node *unstructured.Unstructured) Facts {
	f := Facts{Labels: node.GetLabels(), UID: node.GetUID()}
	f.Runtime, _, _ = unstructured.NestedString(node.Object, "status", "nodeInfo", "containerRuntimeVersion")
	conditions, _, _ := unstructured.NestedSlice(node.Object, "status", "conditions")
	for _, condition := range conditions {
		if c, ok := condition.(map[string]any); ok && c["type"] == "Ready" {
			f.Ready = c["status"] == "True"
		}
	}
	return f
}

// again repeats a request while the API may yet answer: it is overloaded, out of order, or
// does not answer at all.
func (c *Client) again(ctx context.Context, doing string, request func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.patience, fmt.Errorf("no answer within %s", c.patience))
	defer cancel()
	var last error // of the API: the limit itself ends the last request
	for {
		err := request(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil && !transient(err) {
			return fmt.Errorf("%s %s: %w", doing, c.node, err)
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		slog.Warn("the Kubernetes API does not answer yet", "doing", doing, "node", c.node, "error", err)
		wait := pause
		if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
			wait = max(wait, time.Duration(seconds)*time.Second)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s %s: %w: %w", doing, c.node, context.Cause(ctx), last)
		case <-time.After(wait):
		}
	}
}

// transient reports whether a request can succeed when it is repeated. What is no status of
// the API is a matter of the connection.
func transient(err error) bool {
	status := apierrors.ReasonForError(err)
	switch status {
	case metav1.StatusReasonUnknown, metav1.StatusReasonConflict, metav1.StatusReasonTooManyRequests, metav1.StatusReasonInternalError,
		metav1.StatusReasonServerTimeout, metav1.StatusReasonTimeout, metav1.StatusReasonServiceUnavailable:
		return true
	}
	return apierrors.IsUnexpectedServerError(err)
}

// SetLabel labels the node.
func (c *Client) SetLabel(ctx context.Context, value string) error { return c.label(ctx, &value) }

// RemoveLabel removes the label of the node.
func (c *Client) RemoveLabel(ctx context.Context) error { return c.label(ctx, nil) }

func (c *Client) label(ctx context.Context, value *string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{Label: value}}})
	if err != nil {
		return err
	}
	return c.again(ctx, "labelling the node", func(ctx context.Context) error {
		_, err := c.api.Resource(nodes).Patch(ctx, c.node, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	})
}

// WaitReady waits until the node is ready.
func (c *Client) WaitReady(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it is not ready after %s: see the logs of the kubelet and of the container runtime", limit))
	defer cancel()
	var last error
	for {
		facts, err := c.Facts(ctx)
		if err == nil && facts.Ready {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waiting for the node %s: %w", c.node, context.Cause(ctx)), last)
		case <-time.After(pause):
		}
	}
}

// DaemonSetExists reports whether there is a DaemonSet that is not being deleted.
func (c *Client) DaemonSetExists(ctx context.Context, namespace, name string) (exists bool, err error) {
	err = c.again(ctx, "looking for the DaemonSet "+namespace+"/"+name+" of", func(ctx context.Context) error {
		set, err := c.api.Resource(daemonSets).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			exists = false
			return nil
		}
		exists = err == nil && set.GetDeletionTimestamp() == nil
		return err
	})
	return exists, err
}

// OtherDaemonSets counts those of other installations: like Kata's installer it takes them
// by their names.
func (c *Client) OtherDaemonSets(ctx context.Context) (count int, err error) {
	err = c.again(ctx, "looking for other DaemonSets of", func(ctx context.Context) error {
		count = 0
		options := metav1.ListOptions{Limit: page}
		for {
			sets, err := c.api.Resource(daemonSets).List(ctx, options)
			if err != nil {
				return err
			}
			for _, set := range sets.Items {
				if set.GetDeletionTimestamp() == nil && strings.Contains(set.GetName(), "kata-deploy") {
					count++
				}
			}
			if options.Continue = sets.GetContinue(); options.Continue == "" {
				return nil
			}
		}
	})
	return count, err
}
