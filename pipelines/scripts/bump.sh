#!/usr/bin/env bash
# Move every pin that is behind, and open a pull request with that or update the open one.
# usage: bump.sh   (GH_TOKEN may write contents and pull requests)
set -euo pipefail

branch=bump
title="versions: move to the newest versions"
body=$(mktemp)
trap 'rm -f "$body"' EXIT

# In a job in a container, the checkout belongs to the runner's user.
git config --global --add safe.directory "$PWD"
# A tag that was moved fails the job, and the other pins move.
status=0
go run ./pipelines bump --markdown > "$body" || status=$?
cat "$body" >> "${GITHUB_STEP_SUMMARY:-/dev/stdout}"
if git diff --quiet -- versions.yaml assets/sources.yaml; then
	echo "nothing moved"
	exit "$status"
fi
git switch --quiet --force-create "$branch"
git -c user.name="github-actions[bot]" -c user.email="41898282+github-actions[bot]@users.noreply.github.com" \
	commit --quiet --message "$title" -- versions.yaml assets/sources.yaml
gh auth setup-git
git push --quiet --force origin "$branch"
if [ "$(gh pr list --head "$branch" --state open --json number --jq length)" = 0 ]; then
	gh pr create --head "$branch" --title "$title" --body-file "$body"
else
	gh pr edit "$branch" --body-file "$body"
fi
exit "$status"
