# bash completion for gpuboard: the command itself knows what can come next
_gpuboard() {
    local line=${COMP_LINE:0:COMP_POINT} prefix="" kind value
    local -a typed
    read -ra typed <<<"$line"
    [[ $line == *[[:space:]] ]] && typed+=("")
    local last=$((${#typed[@]} - 1))
    [[ ${typed[last]} == *:* ]] && prefix=${typed[last]%"${typed[last]##*:}"}
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            plain) COMPREPLY+=("${value#"$prefix"}") ;;
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
        esac
    done < <(env COMP_WORDS="$line" COMP_CWORD=$last _GPUBOARD_COMPLETE=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F _gpuboard gpuboard
