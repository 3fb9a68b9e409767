# Writes the store's file anew, without what was deleted or overwritten, and waits until that is done.
password=$(</run/secrets/store-password)
exec 3<>/dev/tcp/127.0.0.1/6379 || exit 1
printf 'AUTH twotower %s\r\nBGREWRITEAOF\r\n' "$password" >&3
read -r -t 5 -u 3 login && read -r -t 5 -u 3 started
[[ $login == +OK* && $started == +* ]] || { echo "store: ${started:-$login}" >&2; exit 1; }
state=
while [[ $state != in_progress:0,scheduled:0,ok ]]; do
    sleep 0.2
    printf 'INFO persistence\r\n' >&3
    read -r -t 60 -u 3 length && read -r -t 60 -N $((${length//[!0-9]/} + 2)) -u 3 info || exit 1
    state=
    for name in in_progress scheduled; do [[ $info =~ aof_rewrite_$name:([01]) ]] && state+=$name:${BASH_REMATCH[1]},; done
    [[ $info =~ aof_last_bgrewrite_status:([a-z]+) ]] && state+=${BASH_REMATCH[1]}
    [[ $state != in_progress:0,scheduled:0,err ]] || { echo "store: the rewrite failed; see its log" >&2; exit 1; }
done
