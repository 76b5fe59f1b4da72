"""The keys of a `.travis.yml`: where each may stand, what it takes, what it was called before.

The one rule: the table describes what people write, shorthands included, not the form that Travis makes of it.

A table is written as words. Each is `name=alias:kind`: without a kind it takes a text; `!` says that it is outdated;
`a|b` are the only values; `@table` and `@table*` are a mapping, or one or several. `+text`, `+texts`, `+keys` and
`+flag` before the keys say what may stand in place of the mapping; `*` among them, that it takes keys beside its own.

Sources: https://config.travis-ci.com, https://docs.travis-ci.com/user/deployment-v2, and the pages of each key
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_PHASES = (
    "before_install:commands install:commands before_script:commands script:commands before_cache:commands "
    "after_success:commands after_failure:commands before_deploy:commands after_deploy:commands "
    "after_script:commands "
)
_OF_LANGUAGES = (
    "jdk:texts lein android:@android crystal:texts dotnet:texts mono:texts solution:texts d:texts dart:texts "
    "dart_task:@dart_task* with_content_shell:flag elixir:texts otp_release:texts elm:texts elm_format elm_test "
    "go:texts gobuild_args go_import_path gimme_config:@gimme_config hhvm:texts php:texts composer_args ghc:texts "
    "haxe:texts hxml:texts neko julia:texts matlab:texts nix:texts node_js=node:texts npm_args rvm=ruby=rbenv:texts "
    "gemfile=gemfiles:texts bundler_args xcode_scheme:texts xcode_sdk:texts podfile xcode_destination xcode_project "
    "xcode_workspace xctool_args perl:texts perl6:texts python:texts virtualenv=virtual_env:@virtualenv r:texts "
    "r_packages:texts r_binary_packages:texts r_github_packages:texts apt_packages:texts bioc_packages:texts "
    "brew_packages:texts bioc bioc_check:flag bioc_required=use_bioc:flag bioc_use_devel:flag cran "
    "disable_homebrew:flag latex:flag pandoc:flag pandoc_version r_build_args r_check_args r_check_revdep:flag "
    "warnings_are_errors:flag remotes repos:any rust:texts scala:texts sbt_args smalltalk:texts "
    "smalltalk_config:texts smalltalk_vm:texts smalltalk_edge:@smalltalk_edge "
)
_OF_EVERY_JOB = (
    "virt=virtualization:lxd|vm addons:@addons branches=branch:@branches cache:@cache deploy:@deploy* git:@git "
    "if:condition services:service* group workspaces:@workspaces keys:texts " + _PHASES
)
_OF_ONE_JOB = (
    "language:language* os:os* dist:dist arch:arch* osx_image:texts sudo:any vm:@vm env:@env compiler:texts name "
    "stage keep_netrc:flag " + _OF_EVERY_JOB + _OF_LANGUAGES
)
_OF_NOTIFICATIONS = "if:condition on_success:when on_failure:when enabled:flag disabled:flag "
_OF_DEPLOYS = "provider on=true:@on run:commands allow_failure:flag cleanup:flag skip_cleanup!:flag edge:@edge "

_TABLES: Mapping[str, str] = MappingProxyType(
    {
        "root": "language:language* os:os* dist:dist arch:arch* stack sudo:any import:@import* env:@env "
        "compiler:texts osx_image:texts stages:@stage* jobs=matrix:@jobs notifications:@notifications version vm:@vm "
        "conditions:v0|v1 filter_secrets:flag trace:flag perforce_test_path vault:@vault keep_netrc:flag "
        "merge_mode:any " + _OF_EVERY_JOB + _OF_LANGUAGES,
        "jobs": "+list include:@job* exclude:@some_jobs* allow_failures=allowed_failures:@tolerated* "
        "fast_finish=fast_failure:flag",
        "job": "allow_failure:flag vault:@vault " + _OF_ONE_JOB,
        "some_jobs": _OF_ONE_JOB,
        "tolerated": f"{_OF_ONE_JOB} branch!",
        "stage": "+text name if:condition",
        "import": "+text source mode:merge|deep_merge|deep_merge_append|deep_merge_prepend if:condition",
        "env": "+texts * global:@variables* jobs=matrix:@variables*",
        "variables": "+text *",
        "branches": "+texts only:texts except=exclude:texts",
        "cache": "+keys +flag directories:texts apt:flag bundler:flag cargo:flag ccache:flag cocoapods:flag "
        "npm:flag packages:flag pip:flag yarn:flag timeout:number edge:flag branch",
        "git": "strategy:clone|tarball depth:number quiet:flag submodules:flag symlinks:flag submodules_depth:number "
        "lfs_skip_smudge:flag sparse_checkout autocrlf:any clone:flag",
        "workspaces": "create:@workspace use:texts",
        "workspace": "name paths:texts",
        "vm": "size:medium|large|x-large|2x-large|gpu-medium|gpu-xlarge create:@image use:@image",
        "image": "+text name",
        "vault": "api_url token:secret secrets:@vault_secret*",
        "vault_secret": "+text kv_api_ver:kv1|kv2 namespace:@namespace*",
        "namespace": "+text name",
        "android": "components:texts licenses:texts",
        "dart_task": "+text test dartanalyzer dartfmt:flag install_dartium:flag xvfb:flag",
        "gimme_config": "url force_reinstall:flag",
        "virtualenv": "system_site_packages:flag",
        "smalltalk_edge": "source branch",
        # Addons
        "addons": "apt:@apt apt_packages:texts artifacts:@artifacts browserstack:@browserstack chrome:stable|beta "
        "code_climate:@code_climate coverity_scan:@coverity_scan homebrew:@homebrew hostname hosts:texts jwt:any "
        "sauce_connect:@sauce_connect pkg:@packages srcclr:any snaps:@snap* sonarcloud:@sonarcloud "
        "ssh_known_hosts:texts firefox mariadb postgresql=postgres rethinkdb deploy:@deploy* sbom:@sbom",
        "apt": "+texts +flag packages=package:texts sources=source:@apt_source* dist update:flag config:@apt_config",
        "apt_source": "+text name sourceline key_url",
        "apt_config": "retries:flag",
        "artifacts": "+flag enabled:flag bucket endpoint "
        "key=aws_access_key_id=aws_access_key=access_key_id=access_key "
        "secret=aws_secret_access_key=aws_secret_key=secret_access_key=secret_key:secret region=s3_region "
        "paths:texts branch log_format target_paths:texts debug:flag concurrency:number max_size:number "
        "permissions working_dir "
        "cache_control",
        "browserstack": "+flag username access_key:secret forcelocal:flag only app_path proxyHost proxyPort "
        "proxyUser proxyPass:secret",
        "code_climate": "+text +flag repo_token:secret",
        "coverity_scan": "+flag project:@coverity_project build_script_url branch_pattern notification_email "
        "build_command build_command_prepend",
        "coverity_project": "+text name version description",
        "homebrew": "+texts +flag update:flag packages:texts casks:texts taps:texts brewfile:any",
        "packages": "+texts +flag packages=package:texts branch",
        "sauce_connect": "+flag enabled:flag username access_key:secret direct_domains tunnel_domains "
        "no_ssl_bump_domains",
        "snap": "+text name classic:flag channel",
        "sonarcloud": "+flag enabled:flag organization token:secret github_token!:secret branches!:texts",
        "sbom": "+flag on=true:@sbom_on run_phase:before_script|script|after_success|after_failure "
        "output_format:cyclonedx-json|cyclonedx-xml|spdx-json output_dir input_dir:texts",
        "sbom_on": "+texts branch:texts condition:texts all_branches:flag pr:flag",
        # Notifications
        "notifications": "+texts +flag campfire:@campfire* email=emails:@email* flowdock:@flowdock* "
        "hipchat:@hipchat* irc:@irc* pushover:@pushover* slack:@slack* webhooks=webhook:@webhooks* "
        "on_success:when on_failure:when",
        "campfire": "+texts +flag rooms:secrets template:texts " + _OF_NOTIFICATIONS,
        "email": "+texts +flag recipients:texts " + _OF_NOTIFICATIONS,
        "flowdock": "+text +flag api_token:secret template:texts " + _OF_NOTIFICATIONS,
        "hipchat": "+texts +flag rooms:secrets format:html|text notify:flag on_pull_requests:flag template:texts "
        + _OF_NOTIFICATIONS,
        "irc": "+texts +flag channels=channel:texts channel_key:secret password:secret nickserv_password:secret nick "
        "use_notice:flag skip_join:flag template:texts " + _OF_NOTIFICATIONS,
        "pushover": "+flag api_key:secrets users:secrets template:texts " + _OF_NOTIFICATIONS,
        "slack": "+texts +flag rooms:secrets template:texts on_pull_requests:flag " + _OF_NOTIFICATIONS,
        "webhooks": "+texts +flag urls:@webhook* on_start:when on_cancel:when on_error:when " + _OF_NOTIFICATIONS,
        "webhook": "+text url msteams:flag",
        # Deployments
        "on": "+texts os:os branch:any repo condition:texts all_branches:flag tags:flag " + _OF_LANGUAGES,
        "edge": "+flag enabled:flag source branch",
    }
)

_PROVIDERS: Mapping[str, str] = MappingProxyType(
    {
        "anynines": "username password:secret organization space app_name buildpack manifest logout:flag",
        "azure_web_apps": "site slot username password:secret verbose:flag",
        "bintray": "user key:secret file passphrase:secret url",
        "bluemixcloudfoundry": "username password:secret organization api space region buildpack manifest "
        "skip_ssl_validation:flag app_name logout:flag",
        "boxfuse": "user secret:secret config_file=configfile payload app version env extra_args",
        "cargo": "token:secret allow_dirty:flag",
        "chef_supermarket": "user_id client_key name=cookbook_name category=cookbook_category dir",
        "cloud66": "redeployment_hook:secret",
        "cloudfiles": "username api_key:secret region container glob dot_match:flag",
        "cloudformation": "access_key_id secret_access_key:secret region template stack_name stack_name_prefix "
        "promote:flag role_arn sts_assume_role capabilities:texts wait:flag wait_timeout:number "
        "create_timeout:number parameters:texts output_file",
        "cloudfoundry": "username password:secret organization api space buildpack manifest skip_ssl_validation:flag "
        "app_name logout:flag v3:flag",
        "codedeploy": "access_key_id secret_access_key:secret application deployment_group revision_type:s3|github "
        "commit_id description repository region file_exists_behavior:disallow|overwrite|retain "
        "wait_until_deployed:flag bucket key bundle_type endpoint",
        "convox": "host app rack password:secret install_url update_cli:flag create:flag promote:flag env:texts "
        "env_file description generation:number",
        "datica": "target path",
        "ecr": "access_key_id secret_access_key:secret account_id source target region",
        "elasticbeanstalk": "access_key_id secret_access_key:secret region bucket=bucket_name app:any env:any "
        "description label zip_file bucket_path wait_until_deployed:flag debug:flag",
        "engineyard": "email password:secret api_key:secret account app:any env=environment:any migrate",
        "firebase": "project token:secret message only force:flag",
        "flynn": "git",
        "gae": "project keyfile config:texts version verbosity promote:flag no_promote!:flag "
        "stop_previous_version:flag no_stop_previous_version!:flag install_sdk:flag",
        "gcs": "key_file access_key_id secret_access_key:secret bucket upload_dir local_dir dot_match:flag acl "
        "cache_control detect_encoding:flag",
        "git_push": "token=github_token:secret deploy_key repo branch base_branch commit_message "
        "allow_empty_commit:flag allow_same_branch:flag force:flag local_dir name email host enterprise:flag",
        "gleis": "app username password:secret key_name verbose:flag",
        "hackage": "username password:secret publish:flag",
        "hephy": "controller username password:secret app cli_version verbose:flag",
        "heroku": "strategy:api|git api_key:secrets_by_branch username=user password:secret app:any git",
        "lambda": "access_key_id secret_access_key:secret region function_name role handler_name module_name zip "
        "description timeout memory_size runtime security_group_ids:texts environment=environment_variables:any "
        "subnet_ids:texts dead_letter_arn kms_key_arn tracing_mode:Active|PassThrough layers:texts publish:flag "
        "function_tags:any dot_match:flag",
        "launchpad": "slug oauth_token:secret oauth_token_secret:secret",
        "netlify": "site auth:secret dir functions message prod:flag",
        "npm": "email api_token=api_key:secret access:public|private registry src tag auth_method",
        "nuget": "api_key:secret registry src no_symbols:flag skip_duplicate:flag",
        "openshift": "server token:secret project app",
        "opsworks": "access_key_id secret_access_key:secret region app_id instance_ids:texts layer_ids:texts "
        "migrate:flag wait_until_deployed:flag custom_json update_on_success=update_app_on_success:flag",
        "packagecloud": "username token:secret repository local_dir dist package_glob:texts force:flag "
        "connect_timeout:number read_timeout:number write_timeout:number",
        "pages": "strategy:api|git token=github_token:secret deploy_key repo target_branch local_dir fqdn "
        "project_name email name url=github_url keep_history:flag verbose:flag allow_empty_commit:flag "
        "commit_message committer_from_gh:flag deployment_file:flag",
        "puppetforge": "username=user password:secret url",
        "pypi": "username=user password:secret server distributions docs_dir skip_existing:flag upload_docs:flag "
        "skip_upload_docs!:flag twine_check:flag remove_build_dir:flag setuptools_version twine_version "
        "wheel_version",
        "releases": "username=user password:secret token=api_key:secret repo file:texts file_glob:flag "
        "overwrite:flag "
        "draft:flag name prerelease:flag release_number release_notes=body release_notes_file tag_name "
        "target_commitish",
        "rubygems": "api_key:secrets_by_branch username=user:any password:secrets_by_branch gem:any gemspec "
        "gemspec_glob host",
        "s3": "access_key_id secret_access_key:secret bucket region endpoint upload_dir local_dir glob "
        "dot_match:flag "
        "acl detect_encoding:flag cache_control:texts expires:texts default_text_charset storage_class "
        "server_side_encryption:flag index_document_suffix overwrite:flag force_path_style:flag max_threads:number "
        "verbose:flag",
        "scalingo": "api_token=api_key:secret username=user password:secret remote branch app region timeout:number",
        "script": "script:commands",
        "snap": "snap channel token:secret",
        "surge": "login token:secret project domain",
        "testfairy": "api_key:secret app_file symbols_file testers_groups notify:flag auto_update:flag "
        "advanced_options",
        "transifex": "api_token:secret username password:secret hostname cli_version",
    }
)
"""What each way to deploy takes, beside what all of them do."""

_CHOICES: Mapping[str, str] = MappingProxyType(
    {
        "language": "android c clojure cpp=c++ crystal csharp d dart elixir elm erlang generic go=golang groovy hack "
        "haskell haxe java=jvm julia matlab nix node_js=javascript=js=node perl perl6 php python r ruby "
        "objective-c=objective_c=swift rust scala shell=bash=minimal=sh smalltalk __connie__ __amethyst__ __garnet__ "
        "__stevonnie__ __opal__ __sardonyx__ __onion__ __cookiecat__",
        "os": "linux=ubuntu osx=mac=macos=macosx=ios windows=win freebsd=bsd linux-ppc64le",
        "arch": "amd64=x86_64=x64 arm64 arm64-graviton2 ppc64le=power=ppc=ppc64 i386=x86 s390x",
        "dist": "trusty precise xenial bionic focal jammy noble server-2016 rhel8",
        "service": "cassandra couchdb docker elasticsearch memcached=memcache mongodb mysql neo4j "
        "postgresql=postgres "
        "rabbitmq=rabbitmq-server redis=redis-server riak xvfb cri-dockerd",
        "when": "always=true never=false change=changed",
    }
)
"""The values of keys that take one of a list."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What one key takes."""

    name: str
    """Without aliases: `jobs`, not `matrix`."""
    kind: str = "text"
    """text, texts, commands, flag, number, secret, secrets, secrets_by_branch, condition, any, choice, or table."""
    table: str = ""
    """The table of the keys inside, where the kind is table."""
    choices: tuple[str, ...] = ()
    """Every value that is taken, where the kind is choice, in lower case."""
    many: bool = False
    """Whether a list of them may stand there as well."""
    outdated: bool = False


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of one mapping."""

    name: str
    known: Mapping[str, Key]
    """By every spelling, aliases included."""
    instead: frozenset[str] = frozenset()
    """What may stand in place of the mapping: text, texts, flag, list, or keys, each for `key: true`."""
    free: bool = False
    """Whether it takes keys beside its own."""


def tables() -> Mapping[str, Keys]:
    """Every table by name; `deploy:PROVIDER` is that of a way to deploy."""
    found = {name: _table(name, text) for name, text in _TABLES.items()}
    for provider, text in _PROVIDERS.items():
        found[f"deploy:{provider}"] = _table(f"deploy:{provider}", f"+text {text} {_OF_DEPLOYS}")
    return found


def providers() -> tuple[str, ...]:
    """Every way to deploy."""
    return tuple(_PROVIDERS)


def _table(name: str, text: str) -> Keys:
    words = text.split()
    instead = frozenset(word[1:] for word in words if word.startswith("+"))
    keys = {spelled: key for word in words if word[0] not in "+*" for spelled, key in _spellings(word)}
    return Keys(name=name, known=keys, instead=instead, free="*" in words)


def _spellings(word: str) -> Iterator[tuple[str, Key]]:
    names, _, kind = word.partition(":")
    first, *aliases = names.rstrip("!").split("=")
    outdated, many = names.endswith("!"), kind.endswith("*")
    kind = kind.rstrip("*") or "text"
    if kind.startswith("@"):
        key = Key(name=first, kind="table", table=kind[1:], many=many, outdated=outdated)
    elif "|" in kind or kind in _CHOICES:
        listed = _CHOICES.get(kind, kind).replace("|", " ").replace("=", " ").lower().split()
        key = Key(name=first, kind="choice", choices=tuple(listed), many=many, outdated=outdated)
    else:
        key = Key(name=first, kind=kind, outdated=outdated)
    for spelled in (first, *aliases):
        yield spelled, key
