#!/usr/bin/env bash
# A class without network: copies the folder that `make offline-bundle` made, takes the network away, sets up from the
# copy, opens JupyterLab, executes notebook 02 and asks the doctor. Linux, as root; two minutes on two cores.
set -euo pipefail
bundle=$(cd "$(dirname "$0")/../../out/offline" && pwd)
work=$(cd "$(dirname "$0")/../../out" && pwd)/launch/offline

if [ "${1:-}" != inside ]; then
    rm -rf "$work"
    mkdir -p "$work/home" "$work/USB stick"
    cp -r "$bundle/." "$work/USB stick/"
    cp -r "$work/USB stick/rmtutorial" "$work/course"
    # Nothing of this machine's pip: no settings, no cache. When the script ends, all it started ends with it.
    exec env -i PATH="$PATH" HOME="$work/home" PIP_CONFIG_FILE=/dev/null \
        unshare --net --pid --fork --kill-child --mount-proc bash "$0" inside
fi

ip link set lo up # the machine's own address, over which Jupyter talks to its kernels
[ -z "$(ip route)" ] || { echo "there is still a network"; exit 1; }
cd "$work/course"
SECONDS=0
make setup OFFLINE="../USB stick"
echo "== set up in $SECONDS s, without network"

make lab OFFLINE="../USB stick" >"$work/lab.log" 2>&1 &
for _ in $(seq 60); do
    if .venv/bin/python -c "import urllib.request as u; print(u.urlopen('http://localhost:8888/api').read().decode())" \
        2>/dev/null; then answered=yes; break; fi
    sleep 1
done
[ -n "${answered:-}" ] || { echo "JupyterLab did not answer:"; cat "$work/lab.log"; exit 1; }
echo "== JupyterLab answers"

.venv/bin/jupyter execute notebooks/02_preference_pairs.ipynb
.venv/bin/python -m rmtutorial doctor
echo "== Offline: set up, JupyterLab, notebook 02 and the doctor, all without network"
