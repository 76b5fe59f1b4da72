"""CloudFormation's functions, worked out as far as they can be before a deployment.

The one rule: what is not known now is reported by name with its place, and never guessed. A value that only a
deployment would know can be given as a parameter: `--parameter Resource.Attribute=value`, or the name of an export.

Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference.html
"""

from __future__ import annotations

import base64
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from meshwright.diagnostics import Severity
from meshwright.documents.findings import UNRESOLVED, UNSUPPORTED
from meshwright.documents.positions import NOWHERE, UNKNOWN, Items, Place, Table
from meshwright.documents.template_parameters import TemplateParameters
from meshwright.documents.template_resources import NOTHING, TemplateResources
from meshwright.model.identity import DEFAULT_REGION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meshwright.documents.findings import Findings
    from meshwright.documents.settings import LoadSettings

_DEEPEST = 120
"""How many values may stand inside and behind each other while one is worked out."""
_LONGEST = 65_536
"""The longest text that a function may make."""

_SUBSTITUTED = re.compile(r"\$\{(!?)([^${}]*)\}")


class Resolver:
    """Works out the values of one template."""

    def __init__(self, template: Table, settings: LoadSettings, file: str, findings: Findings) -> None:
        self._settings = settings
        self.mesh = settings.mesh
        """The mesh of resources that name none."""
        self._file = file
        self._findings = findings
        self._resources = TemplateResources(_table(template, "Resources"), settings, self.value, self.unknown)
        self._mappings = _table(template, "Mappings")
        self._conditions = _table(template, "Conditions")
        self._parameters = TemplateParameters(_table(template, "Parameters"), settings, file, findings)
        self._judged: dict[str, Any] = {}
        self._depth = 0

    def value(self, node: Any, place: Place = NOWHERE) -> Any:
        """`node` without functions; `UNKNOWN` where one could not be worked out, `NOTHING` for AWS::NoValue."""
        if self._depth >= _DEEPEST:
            return self.unknown(place, "the functions of this template stand inside each other too deeply")
        self._depth += 1
        try:
            if isinstance(node, Table):
                return self._table_value(node)
            if isinstance(node, Items):
                return self._items_value(node)
            return str(node) if isinstance(node, str) else node
        finally:
            self._depth -= 1

    def unknown(
        self,
        place: Place,
        summary: str,
        detail: str = "",
        *,
        rule: str = UNRESOLVED,
        severity: Severity = Severity.ERROR,
    ) -> Any:
        """Report why a value is not known, once in a template; the value that stands for it."""
        if rule != UNRESOLVED or self._findings.first(self._file, summary):
            self._findings.add(rule, self._file, place, summary, detail, severity=severity)
        return UNKNOWN

    def _items_value(self, node: Items) -> Items:
        items = Items(node.place)
        for one, where in zip(node, node.places, strict=True):
            value = self.value(one, where)
            if value is not NOTHING:
                items.put(value, where)
        return items

    def _table_value(self, node: Table) -> Any:
        name = next((key for key in node if key == "Ref" or key.startswith("Fn::")), None)
        if name is not None and len(node) == 1:
            return self._call(name, node[name], node.places[name])
        if name is not None:
            told = f"{name} stands beside {next(key for key in node if key != name)!r}; a function stands alone"
            return self.unknown(node.places[name], told, rule=UNSUPPORTED)
        table = Table(node.place)
        for key, member in node.items():
            value = self.value(member, node.places[key])
            if value is not NOTHING:
                table.put(key, value, node.places[key])
        return table

    def _call(self, name: str, argument: Any, place: Place) -> Any:
        function = _FUNCTIONS.get(name)
        if function is None:
            known = ", ".join(one.removeprefix("Fn::") for one in _FUNCTIONS)
            return self.unknown(place, f"{name} is not supported", f"Supported are {known}.", rule=UNSUPPORTED)
        return function(self, argument, place)

    def _malformed(self, name: str, place: Place, takes: str) -> Any:
        return self.unknown(place, f"{name} takes {takes}", rule=UNSUPPORTED)

    def _listed(self, name: str, argument: Any, place: Place, count: tuple[int, int], takes: str) -> list[Any] | None:
        """The arguments as written, None and a finding where their number is wrong."""
        low, high = count
        if isinstance(argument, Items) and low <= len(argument) <= high:
            return list(argument)
        self._malformed(name, place, takes)
        return None

    def _text(self, name: str, argument: Any, place: Place) -> Any:
        """An argument as text, `UNKNOWN` where it is not known or no text."""
        value = self.value(argument, place)
        if value is UNKNOWN:
            return UNKNOWN
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str | int | float):
            return value if isinstance(value, str) else str(value)
        return self.unknown(place, f"{name} takes text here, found {_kind(value)}", rule=UNSUPPORTED)

    def ref(self, argument: Any, place: Place) -> Any:
        """`Ref`: a parameter, a pseudo parameter, or what a resource is known by."""
        if not isinstance(argument, str):
            return self._malformed("Ref", place, "the name of a parameter or resource")
        name = str(argument)
        if name.startswith("AWS::"):
            return self._pseudo(name, place)
        if name in self._parameters:
            return self._parameters.value(name, place)
        if name in self._resources:
            return self._resources.attribute(name, "", place)
        if name in self._settings.parameters:
            return self._settings.parameters[name]
        if name in self._settings.lacks:
            lack = self._settings.lacks[name]
            return self.unknown(place, lack.told, lack.remedy, severity=self._settings.gravity(lack))
        near = self._parameters.near(name, [*self._resources])
        detail = f"Did you mean {near!r}?" if near else f"Give it as --parameter {name}=VALUE."
        return self.unknown(place, f"{name} is neither a parameter nor a resource of this template", detail)

    def _pseudo(self, name: str, place: Place) -> Any:
        if name == "AWS::NoValue":
            return NOTHING
        settings = self._settings
        region = settings.region or DEFAULT_REGION
        china = region.startswith("cn-")
        known = {
            "AWS::Region": settings.region,
            "AWS::AccountId": settings.account,
            "AWS::Partition": "aws-cn" if china else "aws",
            "AWS::URLSuffix": "amazonaws.com.cn" if china else "amazonaws.com",
        }
        value = settings.parameters.get(name) or known.get(name)
        if value is not None:
            return value
        option = {"AWS::Region": "Set region, or give", "AWS::AccountId": "Set account, or give"}.get(name, "Give")
        return self.unknown(place, f"{name} has no value", f"{option} --parameter {name}=VALUE.")

    def get_att(self, argument: Any, place: Place) -> Any:
        """`Fn::GetAtt`: of App Mesh's resources the names; of others what the template itself gives."""
        parts: tuple[Any, ...] = ()
        if isinstance(argument, str):
            parts = argument.partition(".")[::2]
        elif isinstance(argument, Items):
            parts = tuple(str(one) if isinstance(one, str) else self.value(one, place) for one in argument)
        if len(parts) != 2 or not all(isinstance(one, str) and one for one in parts):
            known = UNKNOWN in parts
            return (
                UNKNOWN if known else self._malformed("Fn::GetAtt", place, "a resource and the name of an attribute")
            )
        resource, attribute = parts
        if resource not in self._resources:
            given = self._settings.parameters.get(f"{resource}.{attribute}")
            if given is not None:
                return given
            near = self._parameters.near(resource, [*self._resources])
            detail = f"Did you mean {near!r}?" if near else ""
            return self.unknown(place, f"{resource} is no resource of this template", detail)
        return self._resources.attribute(resource, attribute, place)

    def sub(self, argument: Any, place: Place) -> Any:
        """`Fn::Sub`: text with `${Name}`, `${Resource.Attribute}` and `${!Literal}`."""
        text, values = argument, Table(place)
        if isinstance(argument, Items) and len(argument) == 2 and isinstance(argument[1], Table):
            text, values = argument[0], argument[1]
        if not isinstance(text, str):
            return self._malformed("Fn::Sub", place, "text, or a list of text and a mapping of values")
        known: dict[str, Any] = {}
        parts: list[str] = []
        end = 0
        for match in _SUBSTITUTED.finditer(text):
            name = match[2].strip()
            parts.append(text[end : match.start()])
            end = match.end()
            if match[1]:
                known[match[0]] = f"${{{match[2]}}}"
            elif match[0] not in known:
                known[match[0]] = self._variable(name, values, place)
            parts.append(known[match[0]] if isinstance(known[match[0]], str) else "")
        if UNKNOWN in known.values():
            return UNKNOWN
        return self._short("".join([*parts, text[end:]]), place)

    def _variable(self, name: str, values: Table, place: Place) -> Any:
        if name in values:
            return self._text("Fn::Sub", values[name], values.places[name])
        found = self.get_att(name, place) if "." in name else self.ref(name, place)
        return found if found is UNKNOWN else self._text("Fn::Sub", found, place)

    def _short(self, text: str, place: Place) -> Any:
        if len(text) <= _LONGEST:
            return text
        return self.unknown(
            place, f"this function makes a text longer than {_LONGEST:,} characters", rule=UNSUPPORTED
        )

    def join(self, argument: Any, place: Place) -> Any:
        """`Fn::Join`: [delimiter, list]."""
        parts = self._listed("Fn::Join", argument, place, (2, 2), "a delimiter and a list")
        if parts is None:
            return UNKNOWN
        delimiter, listed = self._text("Fn::Join", parts[0], place), self.value(parts[1], place)
        if UNKNOWN in (delimiter, listed) or (isinstance(listed, Items) and UNKNOWN in listed):
            return UNKNOWN
        if not isinstance(listed, Items):
            return self._malformed("Fn::Join", place, "a delimiter and a list")
        texts = [self._text("Fn::Join", one, place) for one in listed]
        return UNKNOWN if UNKNOWN in texts else self._short(delimiter.join(texts), place)

    def select(self, argument: Any, place: Place) -> Any:
        """`Fn::Select`: [index, list]."""
        parts = self._listed("Fn::Select", argument, place, (2, 2), "an index and a list")
        if parts is None:
            return UNKNOWN
        index, listed = self._text("Fn::Select", parts[0], place), self.value(parts[1], place)
        if UNKNOWN in (index, listed):
            return UNKNOWN
        if not isinstance(listed, Items) or not re.fullmatch(r"\d{1,6}", index):
            return self._malformed("Fn::Select", place, "an index and a list")
        if int(index) >= len(listed):
            return self.unknown(place, f"Fn::Select takes item {index} (from 0) where there are only {len(listed)}")
        return listed[int(index)]

    def split(self, argument: Any, place: Place) -> Any:
        """`Fn::Split`: [delimiter, text]."""
        parts = self._listed("Fn::Split", argument, place, (2, 2), "a delimiter and a text")
        if parts is None:
            return UNKNOWN
        delimiter, text = (self._text("Fn::Split", one, place) for one in parts)
        if UNKNOWN in (delimiter, text):
            return UNKNOWN
        if not delimiter:
            return self._malformed("Fn::Split", place, "a delimiter that is not empty")
        items = Items(place)
        for one in text.split(delimiter):
            items.put(one, place)
        return items

    def find_in_map(self, argument: Any, place: Place) -> Any:
        """`Fn::FindInMap`: [mapping, first key, second key, {DefaultValue: …}]."""
        parts = self._listed("Fn::FindInMap", argument, place, (3, 4), "a mapping and two keys")
        if parts is None:
            return UNKNOWN
        keys = [self._text("Fn::FindInMap", one, place) for one in parts[:3]]
        if UNKNOWN in keys:
            return UNKNOWN
        found: Any = self._mappings
        for key in keys:
            found = found.get(key) if isinstance(found, Table) else None
        if found is not None:
            return self.value(found, place)
        if len(parts) == 4 and isinstance(parts[3], Table) and "DefaultValue" in parts[3]:
            return self.value(parts[3]["DefaultValue"], place)
        return self.unknown(place, f"the mappings of this template hold no {'.'.join(keys)}")

    def choose(self, argument: Any, place: Place) -> Any:
        """`Fn::If`: [condition, value if true, value if false]."""
        parts = self._listed("Fn::If", argument, place, (3, 3), "a condition and two values")
        if parts is None:
            return UNKNOWN
        held = self.condition(parts[0], place) if isinstance(parts[0], str) else UNKNOWN
        return UNKNOWN if held is UNKNOWN else self.value(parts[1 if held else 2], place)

    def condition(self, name: str, place: Place) -> Any:
        """Whether a condition of the template holds, judged once."""
        if name not in self._conditions:
            return self.unknown(place, f"the template has no condition {name!r}")
        if name not in self._judged:
            self._judged[name] = None
            self._judged[name] = self._truth(self._conditions[name], self._conditions.places[name])
        if self._judged[name] is None:
            return self.unknown(place, f"the condition {name!r} depends on itself")
        return self._judged[name]

    def _truth(self, node: Any, place: Place) -> Any:
        if self._depth >= _DEEPEST:
            return self.unknown(place, "the conditions of this template stand inside each other too deeply")
        self._depth += 1
        try:
            return self._judge(node, place)
        finally:
            self._depth -= 1

    def _judge(self, node: Any, place: Place) -> Any:
        name, argument = next(iter(node.items())) if isinstance(node, Table) and len(node) == 1 else ("", None)
        place = node.places[name] if isinstance(node, Table) and name else place
        if name == "Condition" and isinstance(argument, str):
            return self.condition(argument, place)
        if name == "Fn::Equals" and isinstance(argument, Items) and len(argument) == 2:
            left, right = (self.value(one, place) for one in argument)
            return UNKNOWN if UNKNOWN in (left, right) else _same(left) == _same(right)
        if name in {"Fn::And", "Fn::Or", "Fn::Not"} and isinstance(argument, Items) and argument:
            held = [self._truth(one, place) for one in argument]
            if UNKNOWN in held:
                return UNKNOWN
            return not held[0] if name == "Fn::Not" else (all if name == "Fn::And" else any)(held)
        told = "a condition is made of Fn::Equals, Fn::And, Fn::Or, Fn::Not and Condition"
        return self.unknown(place, told, rule=UNSUPPORTED)

    def encode(self, argument: Any, place: Place) -> Any:
        """`Fn::Base64`."""
        text = self._text("Fn::Base64", argument, place)
        return text if text is UNKNOWN else base64.b64encode(text.encode()).decode()

    def import_value(self, argument: Any, place: Place) -> Any:
        """`Fn::ImportValue`: the export of another stack, given as a parameter of its name."""
        name = self._text("Fn::ImportValue", argument, place)
        if name is UNKNOWN or name in self._settings.parameters:
            return UNKNOWN if name is UNKNOWN else self._settings.parameters[name]
        told = f"the export {name!r} belongs to another stack, which is not known here"
        return self.unknown(place, told, f"Give its value as --parameter {name}=VALUE.")

    def deployed(self, name: str, place: Place) -> Any:
        """A function whose value only AWS knows."""
        return self.unknown(place, f"{name} is only known once it is deployed", "Write the value, or a parameter.")


_FUNCTIONS: Mapping[str, Callable[[Resolver, Any, Place], Any]] = MappingProxyType(
    {
        "Ref": Resolver.ref,
        "Fn::Base64": Resolver.encode,
        "Fn::FindInMap": Resolver.find_in_map,
        "Fn::GetAtt": Resolver.get_att,
        "Fn::If": Resolver.choose,
        "Fn::ImportValue": Resolver.import_value,
        "Fn::Join": Resolver.join,
        "Fn::Select": Resolver.select,
        "Fn::Split": Resolver.split,
        "Fn::Sub": Resolver.sub,
        "Fn::GetAZs": lambda resolver, _argument, place: resolver.deployed("Fn::GetAZs", place),
        "Fn::Cidr": lambda resolver, _argument, place: resolver.deployed("Fn::Cidr", place),
    }
)


def _table(template: Table, name: str) -> Table:
    found = template.get(name)
    return found if isinstance(found, Table) else Table(template.place)


def _same(value: Any) -> Any:
    """A value as `Fn::Equals` compares it: 1 and "1" are the same."""
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int | float) else value


def _kind(value: Any) -> str:
    if value is NOTHING:
        return "AWS::NoValue"
    return {Table: "a mapping", Items: "a list"}.get(type(value), "nothing")
