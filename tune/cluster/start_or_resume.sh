#!/bin/bash
# Starts a search, or goes on with it: the same line does for the first run and after every requeue.
#
#   start_or_resume.sh FOLDER ADDRESS [CONFIG ...] [OPTIONS of tune/search.py]
#
# FOLDER is the search's own folder, on storage that all nodes share; ADDRESS is that of the Ray cluster.
set -euo pipefail
if (($# < 2)); then
    echo "usage: $0 FOLDER ADDRESS [CONFIG ...] [OPTIONS of tune/search.py]" >&2
    exit 2
fi
folder=$(realpath -m "${1/#\~\//$HOME/}") address=$2 # a quoted ~/ too
shift 2
root=$(dirname "$(realpath "$0")")/../..
python=${PYTHON:-$([[ -x $root/.venv/bin/python ]] && echo "$root/.venv/bin/python" || echo python)}
if [[ -e $folder/search.json ]]; then
    exec "$python" "$root/tune/search.py" --resume "$folder" --address "$address"
fi
# A journal file, since SQLite is unreliable on network file systems.
exec "$python" "$root/tune/search.py" --storage "journal:$folder.journal" "$@" \
    --address "$address" --storage-path "$(dirname "$folder")" --name "$(basename "$folder")"
