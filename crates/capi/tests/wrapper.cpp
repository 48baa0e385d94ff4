// Misuse that the C++ wrapper must prevent: wrapper BUNDLE PROMPT

#include "causalclipseg.hpp"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <thread>

namespace ccs = causalclipseg;

namespace {

constexpr std::uint32_t width = 64, height = 48;
std::atomic<int> failures{0};

void expect(bool holds, const char *what) {
    if (!holds) {
        std::fprintf(stderr, "%s\n", what);
        ++failures;
    }
}

template <class Call> ccs_status status_of(Call call) {
    try {
        call();
    } catch (const ccs::Error &error) {
        return std::strlen(error.what()) > 0 ? error.status() : CCS_STATUS_INTERNAL;
    }
    return CCS_STATUS_OK;
}

// A stream that is assigned over is closed before its receiver goes, and so is one that is moved from.
void replace_streams(const ccs::Model &model, const std::string &prompt, const ccs_frame &frame) {
    const std::string capture(200, 'x');
    const auto receive = [capture](const ccs_event &) { expect(capture.size() == 200, "a receiver was gone"); };
    for (int round = 0; round < 10; ++round) {
        ccs::Stream live({&model}, {prompt}, receive);
        for (int number = 0; number < 3; ++number) {
            live.submit(frame, 0);
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        live = ccs::Stream({&model}, {prompt}, receive);
        live.submit(frame, 0);
        ccs::Stream moved(std::move(live));
        moved.submit(frame, 0);
        expect(status_of([&] { live.submit(frame, 0); }) == CCS_STATUS_HANDLE, "a stream that was moved from runs");
    }
}

// A stream that its own receiver assigns over: the receiver that runs is not freed under itself.
void replace_from_within(const ccs::Model &model, const std::string &prompt, const ccs_frame &frame) {
    std::atomic<bool> is_called{false};
    const auto before = ccs_open_handles();
    std::unique_ptr<ccs::Stream> live;
    const std::string capture(200, 'x');
    live = std::make_unique<ccs::Stream>(std::vector<const ccs::Model *>{&model}, std::vector<std::string>{prompt},
                                         [&, capture](const ccs_event &) {
                                             live.reset();
                                             std::this_thread::sleep_for(std::chrono::milliseconds(20));
                                             expect(capture.size() == 200, "a receiver was freed while it ran");
                                             is_called = true;
                                         });
    live->submit(frame, 0);
    for (int wait = 0; wait < 5000 && !(is_called && ccs_open_handles() == before); ++wait) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    expect(is_called && ccs_open_handles() == before, "a stream that was destroyed by its receiver does not end");
}

// The log, and frames in planes.
void log_and_planes(const char *bundle, ccs::Session &session, const ccs::Prompt &prompt) {
    std::atomic<int> lines{0};
    {
        const ccs::Log log(CCS_LOG_DEBUG, [&](std::uint32_t level, const char *, const char *message) {
            lines += level >= CCS_LOG_ERROR && level <= CCS_LOG_DEBUG && std::strlen(message) > 0 ? 1 : 0;
            throw std::runtime_error("swallowed");
        });
        const ccs::Model model{std::string(bundle)};
    }
    const int said = lines;
    expect(said > 0, "a model is opened and the log is empty");
    const ccs::Model model{std::string(bundle)};
    expect(lines == said, "a log that ended goes on");

    std::vector<std::uint8_t> luma(width * height, 16), chroma(width * height / 2, 128);
    for (std::size_t at = 0; at < luma.size(); ++at) {
        luma[at] = at % width < width / 2 ? 235 : 16;
    }
    const auto frame = ccs::frame(CCS_FORMAT_NV12, luma.data(), luma.size(), width, height);
    session.segment(ccs::with_chroma(frame, 0, chroma.data(), chroma.size()), {&prompt});
    expect(session.measure(0).area_px == luma.size() / 2, "a frame in planes gives another mask");
    expect(status_of([&] { ccs::with_chroma(frame, 2, nullptr, 0); }) == CCS_STATUS_ARGUMENT, "a third plane is taken");
    session.cancel();
}

int run(const char *bundle, const std::string &prompt) {
    const ccs::Model model{std::string(bundle)};
    std::vector<std::uint8_t> pixels(width * height);
    for (std::size_t at = 0; at < pixels.size(); ++at) {
        pixels[at] = at % width < width / 2 ? 250 : 10;
    }
    const auto frame = ccs::frame(CCS_FORMAT_GRAY8, pixels.data(), pixels.size(), width, height);
    const auto encoded = model.prompt(prompt);

    // Options as the wrapper makes them change nothing.
    const auto options = ccs::sized<ccs_session_options>();
    ccs::Session plain(model), zeroed(model, &options);
    plain.segment(frame, {&encoded});
    zeroed.segment(frame, {&encoded});
    const auto area = plain.measure(0).area_px;
    expect(area > 0 && area < pixels.size(), "the model finds all or nothing");
    expect(zeroed.measure(0).area_px == area && zeroed.mask(0) == plain.mask(0), "zeroed options change the mask");

    // A prompt belongs to its model.
    const ccs::Model other{std::string(bundle)};
    const auto foreign = other.prompt(prompt);
    expect(status_of([&] { plain.segment(frame, {&foreign}); }) == CCS_STATUS_OTHER_MODEL, "a foreign prompt runs");
    expect(status_of([&] { plain.mask(0); }) == CCS_STATUS_NO_RESULT, "a failed call leaves a result");

    // Text after a zero byte is not dropped silently.
    const std::string cut = prompt + '\0' + " on the left";
    expect(status_of([&] { model.prompt(cut); }) == CCS_STATUS_ARGUMENT, "a prompt with a zero byte is taken");
    expect(status_of([&] { ccs::Stream({&model}, {cut}, [](const ccs_event &) {}); }) == CCS_STATUS_ARGUMENT,
           "a stream takes a prompt with a zero byte");

    ccs::Session taken(std::move(zeroed));
    expect(taken.measure(0).area_px == area, "a result is lost in a move");
    expect(status_of([&] { zeroed.mask(0); }) == CCS_STATUS_HANDLE, "a session that was moved from answers");
    plain = std::move(taken);
    expect(plain.measure(0).area_px == area, "a result is lost in an assignment");

    replace_streams(model, prompt, frame);
    replace_from_within(model, prompt, frame);
    log_and_planes(bundle, plain, encoded);
    return failures != 0;
}

} // namespace

int main(int argc, char **argv) {
    int status = 1;
    try {
        status = argc == 3 ? run(argv[1], argv[2]) : 2;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
    }
    if (ccs_open_handles() != 0) {
        std::fprintf(stderr, "handles are left\n");
        status = 1;
    }
    return status;
}
